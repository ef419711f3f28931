"""Runs that are looked at again and again, until all of them are finished: what ``gemini-batch watch`` shows.

A finished run is read once, the counts of shards that have landed are opened once, and a folder is searched for new runs once a
minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError
from airflow_gemini_batch.engine.report.board import Board, read_board
from airflow_gemini_batch.engine.report.facts import FactCache
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.wait.progress import Reading

log = logging.getLogger(__name__)

#: Seconds until a folder is searched again: each folder below it is a listing.
_SEARCH_EVERY = 60.0

#: Runs that are read at the same time.
_AT_ONCE = 8

#: Finds the runs in a folder and below it.
FindRuns = Callable[[Location], Iterable[Run]]


class Watch:
    """One run, or all runs below a folder."""

    def __init__(self, place: Location, find: FindRuns) -> None:
        """:param place: the destination of a run, or a folder above runs."""
        self._place, self._find = place, find
        self._runs: dict[str, Run] = {}
        self._boards: dict[str, Board] = {}
        self._searched: float | None = None
        self._facts: FactCache = {}

    def look(self, now: float) -> list[Board]:
        """Where each run stands: those that go on first, then the others, each the newest first.

        A run that cannot be read keeps the board that it had; the first look raises what the storage does.

        :param now: seconds since the epoch.

        Raises DestinationError where there is no run, and CorruptRunError where the only run cannot be read.
        """
        self._search(now)
        left = [run for uri, run in self._runs.items() if not _is_finished(self._boards.get(uri))]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for run, board in zip(left, pool.map(lambda one: self._read(one, now), left), strict=True):
                if board is not None:
                    self._boards[run.destination.uri] = board
        newest = sorted(self._boards.values(), key=lambda board: board.created_at, reverse=True)
        return sorted(newest, key=_is_finished)

    def _search(self, now: float) -> None:
        if self._searched is not None and 0 <= now - self._searched < _SEARCH_EVERY:
            return
        if self._searched is not None and self._place.uri in self._runs:  # the place is a run
            return
        self._searched = now
        found = {run.destination.uri: run for run in self._find(self._place)}
        self._runs |= {uri: run for uri, run in found.items() if uri not in self._runs}
        if not self._runs:
            raise DestinationError(f"There is no run at or below {self._place}. A run is there when its first shards are built.")

    def _read(self, run: Run, now: float) -> Board | None:
        is_new = run.destination.uri not in self._boards
        try:
            return read_board(run, cache=self._facts, now=now)
        except CorruptRunError as torn:
            if len(self._runs) == 1 and is_new:
                raise
            log.warning("%s", torn)
        except Exception as error:
            if is_new:
                raise
            log.warning("%s could not be read (%s: %s); it is read again.", run.destination, type(error).__name__, error)
        return None


def reading_of(board: Board) -> Reading:
    """A board as the log has it."""
    with_job = [shard for shard in board.shards if shard.requests]
    return Reading(
        requests=board.asked,
        done=board.asked if board.state == "finished" else board.done,
        jobs=len(with_job),
        jobs_done=sum(shard.state == "landed" for shard in with_job),
        running=sum(shard.state == "running" for shard in with_job),
        usd=board.cost.usd if any(shard.results is not None for shard in board.shards) else None,
    )


def _is_finished(board: Board | None) -> bool:
    return board is not None and board.state == "finished"
