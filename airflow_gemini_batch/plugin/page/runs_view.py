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

#: Runs that are shown: each costs two small files to read.
_SHOWN = 100

#: Seconds for which a line is believed: of a run that goes on, and of one that is finished (which may be redriven or replaced).
_FRESH = {"running": 5.0, "finished": 60.0}

_AT_ONCE = 16


class Filters(NamedTuple):
    """Empty texts: no filter. ``label``: ``name=value``, or a part of either."""

    dag_id: str = ""
    label: str = ""
    state: str = ""


class Entry(NamedTuple):
    """A run in the list."""

    place: Place
    line: Line


class RunsView(NamedTuple):
    """``dags``: those that the caller may choose from; ``more``: whether older runs are not shown."""

    entries: list[Entry]
    dags: list[str]
    filters: Filters
    more: bool

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
            line = line_of(Run(locate(destination), locate), cache=BOARDS.counts)
        except Exception as error:  # one run that cannot be read must not hide the others
            log.warning("%s cannot be read: %r", destination, error)
            return None
        if line is not None:
            with self._lock:
                if len(self._lines) > 10 * _SHOWN:
                    self._lines = {}
                self._lines[destination] = (time.monotonic(), line)
        return line


_LINES = _Lines()


def read_runs(caller: Caller, session: Any, filters: Filters) -> RunsView:
    """The runs of all DAGs that the caller may see, without those that belong to another DAG that they may not see."""
    dags = [dag_id for dag_id in dags_with_runs(session) if caller.may_see(dag_id)]
    chosen = [dag_id for dag_id in dags if filters.dag_id in ("", dag_id)]
    found = places(session, chosen) if chosen else []
    destinations = list(dict.fromkeys(place.destination for place in found))
    shown = set(destinations[:_SHOWN])
    entries = entries_of(caller, [place for place in found if place.destination in shown])
    return RunsView([each for each in entries if _matches(each.line, filters)], dags, filters, more=len(destinations) > _SHOWN)


def entries_of(caller: Caller, found: Iterable[Place]) -> list[Entry]:
    """Each run once, if it can be read and belongs to a DAG that the caller may see: at the task that built it, where that is
    among the places, else at the task that has worked on it last."""
    by_run: dict[str, list[Place]] = {}
    for place in found:
        by_run.setdefault(place.destination, []).append(place)
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
