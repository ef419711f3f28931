"""The routes of the page. Those below ``static`` are open to everybody and show nothing of a run; all others need a caller."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.gzip import GZipMiddleware

from airflow_gemini_batch.engine.report import summary_page as summary_pages
from airflow_gemini_batch.evals.comparing.reading import comparisons_below
from airflow_gemini_batch.evals.report import comparison_page as comparison_pages
from airflow_gemini_batch.plugin.page.access import AuthorisedDep, CallerDep, Place, SessionDep, place_of_task, places
from airflow_gemini_batch.plugin.page.kept_page import KeptPage, read_kept_page
from airflow_gemini_batch.plugin.page.rendering import STATIC_FOLDER, render, section
from airflow_gemini_batch.plugin.page.run_view import RunView, flight_of, read_run, rows_of, shard_of
from airflow_gemini_batch.plugin.page.runs_view import Filters, entries_of, read_runs

log = logging.getLogger(__name__)

#: Nothing but this server's own files; no inline script and no inline style, so no text of a row can become either.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

#: Sections of the two pages that change while runs go on. A poll brings those that are not as the browser has them.
_RUN_SECTIONS = ("head", "board", "letters", "timeline")
_RUNS_SECTIONS = ("list",)

Text = Annotated[str, Query(max_length=1000)]


@dataclass(frozen=True, slots=True)
class Named:
    """What an address names: a task instance, or a DAG run. The query of the request, filled in by FastAPI."""

    dag_id: Text
    run_id: Text
    task_id: Text = ""
    map_index: Text = ""


NamedDep = Annotated[Named, Depends()]


def build_app() -> FastAPI:
    """The application; Airflow mounts it below ``PAGE_PREFIX``."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=2_000)
    app.middleware("http")(_with_headers)
    app.exception_handler(StarletteHTTPException)(_refused)
    app.mount("/static", StaticFiles(directory=Path(STATIC_FOLDER)), name="static")
    app.get("/runs", response_class=HTMLResponse)(runs_page)
    app.get("/runs.json")(runs_json)
    app.get("/run", response_class=HTMLResponse)(run_page)
    app.get("/run.json")(run_json)
    app.get("/summary", response_class=HTMLResponse)(summary_page)
    app.get("/comparison", response_class=HTMLResponse)(comparison_page)
    app.get("/rows.json")(rows_json)
    app.get("/shard.json")(shard_json)
    return app


async def _refused(request: Request, error: StarletteHTTPException) -> Response:
    """JSON for what the page asks, and a page for what a person opens."""
    if not request.url.path.endswith(("/run", "/runs", "/summary", "/comparison")):
        return JSONResponse({"detail": error.detail}, error.status_code)
    title = {401: "Sign in to Airflow first", 403: "You may not see this", 502: "This run cannot be read"}
    html = render("error.html", title=title.get(error.status_code, "Nothing here"), detail=error.detail)
    return HTMLResponse(html, error.status_code)


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if "/static/" in request.scope["path"] and response.status_code == 200:
        # An address with a version never shows anything else.
        response.headers["Cache-Control"] = "max-age=31536000, immutable" if "v" in request.query_params else "max-age=300"
    return response


def filters_of(
    dag_id: Text = "", label: Text = "", state: Text = "", after: Annotated[int, Query(ge=0, le=1_000_000)] = 0
) -> Filters:
    return Filters(dag_id, label, state, after)


FiltersDep = Annotated[Filters, Depends(filters_of)]


def runs_page(caller: CallerDep, session: SessionDep, filters: FiltersDep) -> HTMLResponse:
    """All runs that the caller may see, the newest first."""
    return HTMLResponse(render("runs.html", view=read_runs(caller, session, filters)))


def runs_json(caller: CallerDep, session: SessionDep, filters: FiltersDep, have: Text = "") -> JSONResponse:
    return _news(_RUNS_SECTIONS, have, read_runs(caller, session, filters), live=True)


def run_page(caller: AuthorisedDep, session: SessionDep, named: NamedDep) -> HTMLResponse:
    """The page of a task instance's run; of a DAG run, its only run or a list of them."""
    found = _places(session, named)
    view, entries = None, []
    if len(found) == 1:
        with _explained():
            view = read_run(caller, found[0], _others(session, found[0]), with_comparisons=True)
    else:
        entries = entries_of(caller, found)
    if view is None:
        return HTMLResponse(render("none.html", entries=entries, named=named))
    return HTMLResponse(render("run.html", view=view))


def run_json(caller: AuthorisedDep, session: SessionDep, named: NamedDep, have: Text = "") -> JSONResponse:
    """The sections of the page that have changed.

    :param have: digests of the sections that the browser shows, with commas between them.
    """
    view = _view(caller, session, named, with_comparisons=True)
    return _news(_RUN_SECTIONS, have, view, live=view.board.state != "finished")


def summary_page(caller: AuthorisedDep, session: SessionDep, named: NamedDep) -> HTMLResponse:
    """The page that the run has written beside its summary."""
    run = _view(caller, session, named).run
    with _explained():
        page = read_kept_page(run.summary_page, summary_pages.MOST_BYTES)
    if page is None:
        raise HTTPException(
            404, "This run has no summary page yet. It is drawn when the run finishes; gemini-batch report draws it again."
        )
    return _kept(page)


def comparison_page(caller: AuthorisedDep, session: SessionDep, named: NamedDep, name: Text = "") -> HTMLResponse:
    """The page of a comparison of this run with others, which ``compare`` has written below the run."""
    destination = _view(caller, session, named).run.destination
    page = None
    with _explained():
        if name in comparisons_below(destination):  # a name and no path: it is one of those that are there
            place = destination / "comparisons" / name / comparison_pages.FILE
            page = read_kept_page(place, comparison_pages.MOST_BYTES)
    if page is None:
        raise HTTPException(404, "This run has no report of that name. compare writes it; write_report draws it again.")
    return _kept(page)


def _kept(page: KeptPage) -> HTMLResponse:
    return HTMLResponse(page.content, headers={"Content-Security-Policy": page.policy})


def rows_json(caller: AuthorisedDep, session: SessionDep, named: NamedDep, reason: Text = "") -> JSONResponse:
    """The first results, or the first dead letters of a reason, as a piece of HTML."""
    view = _view(caller, session, named)
    with _explained():
        return JSONResponse({"html": render("rows.html", rows=rows_of(view, reason or None), reason=reason)})


def shard_json(caller: AuthorisedDep, session: SessionDep, named: NamedDep, shard: Text) -> JSONResponse:
    """What is known of one shard and attempt, as a piece of HTML."""
    view = _view(caller, session, named)
    found = shard_of(view, shard)
    if found is None:
        raise HTTPException(404, "Not Found")
    events = [event for event in view.board.events if event.shard == shard]
    return JSONResponse({"html": render("shard.html", shard=found, flight=flight_of(found, view.board), events=events)})


def _view(caller: AuthorisedDep, session: SessionDep, named: Named, *, with_comparisons: bool = False) -> RunView:
    found = _places(session, named)
    with _explained():
        view = read_run(caller, found[0], [], with_comparisons=with_comparisons) if len(found) == 1 else None
    if view is None:
        raise HTTPException(404, "Not Found")
    return view


def _places(session: SessionDep, named: Named) -> list[Place]:
    """Where the task's run is. For a task that has recorded none, and for none: the runs of the DAG run, each once."""
    if named.task_id and not named.task_id.startswith("{"):
        # The browser leaves {MAP_INDEX} as it is where the task is not mapped.
        index = int(named.map_index) if named.map_index.lstrip("-").isdecimal() else -1
        place = place_of_task(session, named.dag_id, named.run_id, named.task_id, index)
        if place is not None:
            return [place]
    return _once(places(session, [named.dag_id], named.run_id))


def _others(session: SessionDep, shown: Place) -> list[Place]:
    """The other runs of the same DAG, the newest first."""
    return [place for place in _once(places(session, [shown.dag_id])) if place.destination != shown.destination][:20]


def _once(found: Iterable[Place]) -> list[Place]:
    """A place for each run."""
    return list({place.destination: place for place in found}.values())


def _news(names: tuple[str, ...], have: str, view: Any, *, live: bool) -> JSONResponse:
    known = set(have.split(","))
    parts = {name: section(name, view) for name in names}
    return JSONResponse({"live": live, "sections": {name: part for name, part in parts.items() if part["digest"] not in known}})


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """What the storage raises becomes a short answer: the caller may see the run, and this process cannot."""
    try:
        yield
    except HTTPException:
        raise
    except Exception as error:
        log.exception("A run cannot be read.")
        raise HTTPException(
            502,
            f"The API server cannot read this run ({type(error).__name__}). Its log has the error. The run's folder and the "
            "connection in its URI must be usable from the API server.",
        ) from None
