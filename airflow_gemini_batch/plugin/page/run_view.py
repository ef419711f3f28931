"""What the page of one run shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from airflow_gemini_batch._locations import locate
from airflow_gemini_batch.engine.report.asked import ADVICE, asked_of, bounds_of
from airflow_gemini_batch.engine.report.board import Board, Event, ShardState, read_board
from airflow_gemini_batch.engine.report.facts import FactCache
from airflow_gemini_batch.engine.report.rate import Pace
from airflow_gemini_batch.engine.report.table_rows import TableRows, first_rows
from airflow_gemini_batch.engine.report.words import dollars, noun_of, seconds_between
from airflow_gemini_batch.engine.run.layout import Manifest, Run, ShardAttempt
from airflow_gemini_batch.evals.comparing.reading import comparisons_below
from airflow_gemini_batch.plugin.page.access import Caller, Place

#: Seconds for which a board serves several requests: a page asks for more than one thing, and several people look at a run.
_FRESH = 2.0

#: Facts of ledgers that are kept in memory; each takes about a kilobyte.
_MOST_FACTS = 50_000

#: Columns of the time line.
_BINS = 60

#: Jobs that are shown as rows of a table, and dead letters and results that are shown as samples.
_IN_FLIGHT, _SAMPLES = 100, 10

#: Events that are listed.
_EVENTS = 40

#: The rows of the time line, in this order, and what they are called.
_KINDS = {
    "job": "jobs created",
    "end": "jobs ended",
    "landed": "shards landed",
    "redrive": "resubmissions",
    "cancel": "jobs cancelled",
    "discard": "dead letters discarded",
}


class BarPart(NamedTuple):
    """A part of the bar of progress, in percent of all rows."""

    kind: str
    name: str
    rows: int
    start: float
    width: float


class Flight(NamedTuple):
    """A job that has not been collected."""

    shard: ShardState
    pace: Pace
    text: str


class ReasonRow(NamedTuple):
    """Dead letters of one reason. ``percent``: of the most frequent one."""

    name: str
    rows: int
    percent: float
    advice: str


class Bin(NamedTuple):
    """A column of one row of the time line. ``level``: 1 to 4, by how much happened."""

    column: int
    level: int
    title: str


class TimelineRow(NamedTuple):
    what: str
    name: str
    columns: int
    bins: list[Bin]
    total: int


class RunView(NamedTuple):
    """
    :param others: other runs of the same DAG.
    :param comparisons: names of the comparisons of this run with others.
    """

    place: Place
    run: Run
    board: Board
    manifest: Manifest
    others: Sequence[Place]
    comparisons: Sequence[str] = ()

    @property
    def query(self) -> dict[str, str]:
        return self.place.query

    @property
    def ratio(self) -> float:
        board = self.board
        return board.dead_letter / max(1, board.dead_letter + board.results)

    @property
    def took(self) -> float | None:
        """Seconds from the build to the end."""
        return seconds_between(self.board.created_at, self.board.finished_at or "")

    @property
    def pieces(self) -> list[BarPart]:
        """All rows, by what has become of them."""
        board = self.board
        answered = max(0, board.done - board.results - board.dead_letter) if board.state == "running" else 0
        known = board.results + board.dead_letter + answered
        counts = {
            ("done", noun_of(board.results, "result")): board.results,
            ("failed", noun_of(board.dead_letter, "dead letter")): board.dead_letter,
            ("flight", "answered, not collected"): answered,
            ("left", "left"): max(0, board.rows - known),
        }
        whole, start, pieces = max(1, board.rows, known), 0.0, []
        for (kind, name), rows in counts.items():
            if rows:
                pieces.append(BarPart(kind, name, rows, round(start, 3), round(100 * rows / whole, 3)))
                start += 100 * rows / whole
        return pieces

    @property
    def size(self) -> str:
        """How large the cells of the board are."""
        shards = len(self.board.shards)
        return "large" if shards <= 60 else "medium" if shards <= 300 else "small"

    @property
    def with_letters(self) -> int:
        return sum(bool(shard.dead_letter or shard.failed) for shard in self.board.shards)

    @property
    def in_flight(self) -> list[Flight]:
        """The shards with a job that has not been collected, the oldest first."""
        active = sorted(filter(_is_active, self.board.shards), key=lambda shard: (shard.submitted_at or 0.0, shard.id))
        return [flight_of(shard, self.board) for shard in active[:_IN_FLIGHT]]

    @property
    def more_in_flight(self) -> bool:
        return sum(map(_is_active, self.board.shards)) > _IN_FLIGHT

    @property
    def reasons(self) -> list[ReasonRow]:
        counts = self.board.reasons
        most = max(counts.values(), default=1) or 1
        ordered = sorted(counts.items(), key=lambda pair: -pair[1])
        return [ReasonRow(name, rows, round(100 * rows / most, 2), ADVICE.get(name, "")) for name, rows in ordered]

    @property
    def estimate(self) -> str:
        """What the whole run may cost, where that was measured when it was built; empty text otherwise."""
        if self.manifest.estimated_usd is not None:
            return f"about {dollars(self.manifest.estimated_usd)}"
        bounds = bounds_of(self.manifest)
        if bounds is None:
            return ""
        if bounds.high is None:
            return f"at least {dollars(bounds.low)}"
        return f"{dollars(bounds.low)} to {dollars(bounds.high)}"

    @property
    def asked(self) -> list[tuple[str, str]]:
        """What was asked, as pairs of a heading and a text."""
        return asked_of(self.manifest.request)

    @property
    def events(self) -> list[Event]:
        """What happened. Each collected shard writes what is resubmitted of it; that of none is left out."""
        again = {shard.id for shard in self.board.shards if shard.resubmitted}
        return [event for event in self.board.events if event.what != "redrive" or event.shard in again]

    @property
    def timeline(self) -> list[TimelineRow]:
        events = self.events
        if not events:
            return []
        begin, end = events[0].at, max(events[-1].at, events[0].at + 1.0)
        found = {kind: [event for event in events if event.what == kind] for kind in _KINDS}
        return [
            TimelineRow(kind, _KINDS[kind], _BINS, _bins(chosen, begin, end, _KINDS[kind]), len(chosen))
            for kind, chosen in found.items()
            if chosen
        ]

    @property
    def latest_events(self) -> list[Event]:
        return self.events[: -_EVENTS - 1 : -1]


def flight_of(shard: ShardState, board: Board) -> Flight:
    """A shard with the rate of its own job, from its submission to the last check."""
    seconds = None if shard.submitted_at is None or board.checked_at is None else board.checked_at - shard.submitted_at
    rate = shard.done / seconds if seconds and seconds > 0 and shard.done else None
    pace = Pace(rate, None if rate is None else shard.pending / rate)
    return Flight(shard, pace, f"{shard.done:,} of {shard.requests:,} done, {shard.failed:,} failed")


def _is_active(shard: ShardState) -> bool:
    return shard.state in ("submitting", "pending", "running", "ended")


class _Boards:
    """Boards that were just read, and facts that have been opened. Shared by all requests of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._boards: dict[str, tuple[float, Board | None]] = {}
        self.facts: FactCache = {}

    def read(self, run: Run, manifest: Manifest) -> Board | None:
        now = time.monotonic()
        with self._lock:
            at, board = self._boards.get(run.destination.uri, (0.0, None))
            if at and now - at < _FRESH:
                return board
            if len(self.facts) > _MOST_FACTS:
                self.facts = {}
            self._boards = {uri: known for uri, known in self._boards.items() if now - known[0] < _FRESH}
        board = read_board(run, manifest=manifest, cache=self.facts)
        with self._lock:
            self._boards[run.destination.uri] = (time.monotonic(), board)
        return board


BOARDS = _Boards()


def read_run(caller: Caller, place: Place, others: Sequence[Place], *, with_comparisons: bool = False) -> RunView | None:
    """The run at a place; None where there is none, or none that the caller may see."""
    run = Run(locate(place.destination), locate)
    manifest = run.manifest()
    if manifest is None or not caller.may_see_run_of(manifest.owner):
        return None
    board = BOARDS.read(run, manifest)
    if board is None or not caller.may_see_run_of(board.owner):
        return None
    names = comparisons_below(run.destination) if with_comparisons and board.state == "finished" else []
    return RunView(place, run, board, manifest, others, names)


def rows_of(view: RunView, reason: str | None) -> TableRows:
    """The first results; with a reason, the first dead letters that have it."""
    run, shards = view.run, view.board.shards
    if reason is not None:
        chosen = [ShardAttempt(shard.shard, shard.attempt) for shard in shards if shard.reasons.get(reason)]
        parts = [run.dead_letter_part(part) for part in chosen]
        return first_rows(parts, reason=reason, limit=_SAMPLES)
    landed = [ShardAttempt(shard.shard, shard.attempt) for shard in shards if shard.results]
    reused = [run.reused_part(part.id) for part in view.manifest.reused]
    return first_rows([*(run.results_part(part) for part in landed), *reused], limit=_SAMPLES)


def shard_of(view: RunView, name: str) -> ShardState | None:
    return next((shard for shard in view.board.shards if shard.id == name), None)


def _bins(events: Sequence[Event], begin: float, end: float, name: str) -> list[Bin]:
    counts: dict[int, list[Event]] = {}
    for event in events:
        counts.setdefault(min(_BINS - 1, int((event.at - begin) / (end - begin) * _BINS)), []).append(event)
    most = max(map(len, counts.values()), default=1)
    return [
        Bin(column, 1 + round(3 * (len(here) - 1) / max(1, most - 1)), f"{name}: {len(here)}") for column, here in counts.items()
    ]
