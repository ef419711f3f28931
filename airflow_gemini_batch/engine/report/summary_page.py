"""``summary.html``: a finished run on one page, to be sent to somebody or looked at in a year.

The page is complete in itself: no script, no request, one style sheet that the content policy names by its hash. It says what the
run was, what came out, how long it took, what it cost, and which rows have no result and why.

Two rules must not be relaxed. Every text of a row, a model or the service is cut and made harmless before it goes into the page,
and escaped there. And the page never takes more than ``MOST_BYTES``, whatever the run is: what does not fit is left out, which
the page says.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch import __version__
from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.report import words
from airflow_gemini_batch.engine.report.excerpts import printable_lines
from airflow_gemini_batch.engine.report.summary_view import SummaryView, read_summary_view
from airflow_gemini_batch.engine.run.layout import Manifest, Run

if TYPE_CHECKING:
    from jinja2 import Environment

log = logging.getLogger(__name__)

#: A page that opens at once on a phone, and that a mail takes.
MOST_BYTES = 300_000

#: How much of each text and of each list is shown, from all that is planned for to next to nothing.
_DETAILS = (1.0, 0.5, 0.2, 0.05)

_TEMPLATES = Path(__file__).parent / "templates"


def write_summary_page(run: Run, manifest: Manifest, summary: Summary) -> int:
    """Draw the page of a run whose tables are complete, and put it beside ``summary.json``.

    Returns its size in bytes. Raises what the storage does.
    """
    content = draw_summary_page(run, manifest, summary)
    run.summary_page.write(content)
    return len(content)


def redraw_summary_page(run: Run) -> int:
    """Draw the page of a finished run again.

    Returns its size in bytes. Raises DestinationError for a run that is not finished, CorruptRunError for a manifest that cannot
    be read, and what the storage does.
    """
    manifest, summary = run.built(), summary_of(run)
    if summary is None:
        raise DestinationError(
            f"{run.destination} is not finished: {run.summary_file} is absent. Its page is drawn when it is; "
            f"until then, see gemini-batch status {run.destination}."
        )
    return write_summary_page(run, manifest, summary)


def draw_summary_page(run: Run, manifest: Manifest, summary: Summary) -> bytes:
    """The page, at most ``MOST_BYTES`` long."""
    view = read_summary_view(run, manifest, summary)
    content = b""
    for detail in _DETAILS:
        content = _render(view._replace(detail=detail))
        if len(content) <= MOST_BYTES:
            break
        log.info("With %.0f %% of its texts, the page of %s has %d bytes.", 100 * detail, run.destination, len(content))
    return content


def _render(view: SummaryView) -> bytes:
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    html = _environment().get_template("summary.html").render(view=view, style=style, style_hash=digest, version=__version__)
    return html.encode()


def _harmless(value: Any) -> Any:
    """What goes into the page, before it is escaped: without what would act on it, wherever it comes from."""
    return printable_lines(value) if type(value) is str else value


@functools.cache
def _style() -> str:
    return (_TEMPLATES / "summary.css").read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    # Jinja2 takes a while to import, and most passes finish nothing.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words.FILTERS)
    return environment
