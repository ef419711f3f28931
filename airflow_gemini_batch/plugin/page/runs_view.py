"""What the list of all runs shows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from airflow_gemini_batch._locations import locate
from airflow_gemini_batch.engine.report.overview import Line, line_of
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.plugin.page.access import Caller, Place, dags_with_runs, places
from airflow_gemini_batch.plugin.page.run_view import BOARDS

log = logging.getLogger(__name__)

#: Runs that a page shows, and that are read at once: each costs two small files.
_SHOWN = 100

#: Seconds after which no further runs are read for a page. Where a filter is met by few, the next page goes on from there.
_SECONDS = 3.0

#: Lines that are remembered.
_MOST_LINES = 10_000

#: Seconds for which a line is believed: of a run that goes on, and of one that is finished (which may be redriven or replaced).
_FRESH = {"running": 5.0, "finished": 60.0}

_AT_ONCE = 16


class Filters(NamedTuple):
    """Empty texts: no filter. ``label``: ``name=value``, or a part of either. ``after``: runs on the pages before."""

    dag_id: str = ""
    label: str = ""
    state: str = ""
    after: int = 0

    def at(self, after: int) -> dict[str, str | int]:
        """The query of the page that begins there."""
        return {**self._asdict(), "after": after}


class Entry(NamedTuple):
    """A run in the list."""

    place: Place
    line: Line


class RunsView(NamedTuple):
    """``dags``: those that the caller may choose from; ``older``: where the next page begins, None on the last one."""

    entries: list[Entry]
    dags: list[str]
    filters: Filters
    older: int | None

    @property
    def usd(self) -> float | None:
        known = [entry.line.usd for entry in self.entries if entry.line.usd is not None]
        return sum(known) if known else None

    @property
    def rows(self) -> int:
        return sum(entry.line.rows for entry in self.entries)


class _Lines:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, tuple[float, Line]] = {}

    def read(self, destination: str) -> Line | None:
        with self._lock:
            at, line = self._lines.get(destination, (0.0, None))
        if line is not None and time.monotonic() - at < _FRESH[line.state]:
            return line
        try:
            line = line_of(Run(locate(destination), locate), cache=BOARDS.facts)
        except Exception as error:  # one run that cannot be read must not hide the others
            log.warning("%s cannot be read: %r", destination, error)
            return None
        if line is not None:
            with self._lock:
                if len(self._lines) > _MOST_LINES:
                    self._lines = {}
                self._lines[destination] = (time.monotonic(), line)
        return line


_LINES = _Lines()


def read_runs(caller: Caller, session: Any, filters: Filters) -> RunsView:
    """The runs of all DAGs that the caller may see, without those that belong to another DAG that they may not see.

    Runs are looked at from the newest on, until the page is full, all are seen, or the time is over.
    """
    begin = time.monotonic()
    dags = [dag_id for dag_id in dags_with_runs(session) if caller.may_see(dag_id)]
    chosen = [dag_id for dag_id in dags if filters.dag_id in ("", dag_id)]
    found = places(session, chosen) if chosen else []
    by_run = _by_run(found)
    destinations, seen = list(by_run), filters.after
    entries: list[Entry] = []
    while seen < len(destinations) and len(entries) < _SHOWN and (seen == filters.after or time.monotonic() - begin < _SECONDS):
        chunk = destinations[seen : seen + _SHOWN]
        matching = [each for each in _entries(caller, {uri: by_run[uri] for uri in chunk}) if _matches(each.line, filters)]
        room = _SHOWN - len(entries)
        if len(matching) > room:
            last = chunk.index(matching[room - 1].place.destination)
            chunk, matching = chunk[: last + 1], matching[:room]
        entries += matching
        seen += len(chunk)
    return RunsView(entries, dags, filters, older=seen if seen < len(destinations) else None)


def entries_of(caller: Caller, found: Iterable[Place]) -> list[Entry]:
    """Each run once, if it can be read and belongs to a DAG that the caller may see: at the task that built it, where that is
    among the places, else at the task that has worked on it last."""
    return _entries(caller, _by_run(found))


def _by_run(found: Iterable[Place]) -> dict[str, list[Place]]:
    by_run: dict[str, list[Place]] = {}
    for place in found:
        by_run.setdefault(place.destination, []).append(place)
    return by_run


def _entries(caller: Caller, by_run: dict[str, list[Place]]) -> list[Entry]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        lines = list(pool.map(_LINES.read, by_run))
    return [
        Entry(next((place for place in known if place.owner == line.owner), known[0]), line)
        for known, line in zip(by_run.values(), lines, strict=True)
        if line is not None and caller.may_see_run_of(line.owner)
    ]


def _matches(line: Line, filters: Filters) -> bool:
    labels = " ".join(f"{name}={value}" for name, value in line.labels.items())
    return filters.state in ("", line.state) and filters.label.strip() in labels
