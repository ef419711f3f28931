"""Boards of runs as a terminal shows them: in words, one run as a picture, many runs as a table."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from airflow_gemini_batch.engine.finish.summary import in_words_of
from airflow_gemini_batch.engine.printable import printable
from airflow_gemini_batch.engine.report.board import Board, ShardState
from airflow_gemini_batch.engine.report.watching import reading_of
from airflow_gemini_batch.engine.report.words import counted, dollars, duration, percent, rate
from airflow_gemini_batch.engine.wait.progress import Progress

#: Rows of a table that fit on a screen.
_MOST_SHARDS, _MOST_RUNS = 12, 25

_COLOURS = {
    "pending": "yellow",
    "running": "cyan",
    "submitting": "magenta",
    "ended": "blue",
    "landed": "green",
    "finished": "green",
}

_IN_FLIGHT = ("submitting", "pending", "running", "ended")


def rows_of(board: Board) -> str:
    """``410,000 of 1,000,000 done (41 %)``"""
    if board.state == "finished":
        return f"{board.rows:,} rows, {board.results:,} results"
    return f"{board.done:,} of {board.asked:,} done ({percent(board.share)})"


def shards_of(board: Board) -> str:
    """``3 running, 17 landed``"""
    return ", ".join(f"{count:,} {state}" for state, count in board.states.items())


def pace_of(board: Board) -> str:
    """``5,200 rows/min, about 1 h 50 min left``; empty where nothing was observed, or nothing is left."""
    left = board.pace.seconds_left
    return ", ".join(filter(None, [rate(board.pace.rows_per_second), f"about {duration(left)} left" if left else ""]))


def cost_of(board: Board) -> str:
    """``$3.10 so far, $7.56 expected (genai-prices 0.2.3)``; empty where nothing is known."""
    cost, running = board.cost, board.state == "running"
    if cost.usd is None:
        return ""
    expected = f", {dollars(board.projected_usd)} expected" if running and board.projected_usd is not None else ""
    left_out = f", without {counted(cost.unpriced, 'request')} of unknown cost" if cost.unpriced else ""
    return f"{dollars(cost.usd)}{' so far' if running else ''}{expected}{left_out} ({cost.basis})"


def dead_letters_of(board: Board) -> str:
    """``12: BLOCKED 10, EMPTY 2; 3 discarded``; empty where there are none."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(board.reasons.items(), key=lambda one: -one[1]))
    discarded = f"; {board.discarded:,} discarded" if board.discarded else ""
    return f"{board.dead_letter:,}{': ' if reasons else ''}{reasons}{discarded}" if board.dead_letter else ""


class Lines:
    """Boards as a log has them: a line at the start, whenever a tenth is done or ten minutes passed, and at the end."""

    def __init__(self) -> None:
        self._known: dict[str, Progress] = {}
        self._ended: set[str] = set()

    def due(self, boards: Sequence[Board], now: float) -> list[str]:
        """The lines of those of which there is something to say.

        :param now: seconds since the epoch.
        """
        lines = {board.destination: self._line(board, now) for board in boards if board.destination not in self._ended}
        return [f"{printable(uri)}: {printable(words)}" for uri, words in lines.items() if words]

    def _line(self, board: Board, now: float) -> str | None:
        if board.state == "finished":
            self._ended.add(board.destination)
            return f"finished · {board.in_words()}"
        progress = self._known.setdefault(board.destination, Progress())
        return progress.line(reading_of(board), now=now, rate=board.pace.rows_per_second or 0.0)


def picture_of(boards: Sequence[Board]) -> RenderableType:
    """One run in full, several as a table."""
    return _one(boards[0]) if len(boards) == 1 else _many(boards)


def _one(board: Board) -> RenderableType:
    title = Text.assemble(
        (printable(board.destination), "bold"),
        f"  {printable(board.model.removeprefix('models/'))}  {printable(in_words_of(board.labels))}",
    )
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    bar.add_row(ProgressBar(total=1.0, completed=board.share), Text(percent(board.share), "bold"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for name, words in (
        ("rows", rows_of(board)),
        ("shards", shards_of(board)),
        ("rate", pace_of(board)),
        ("cost", cost_of(board)),
        ("dead letters", dead_letters_of(board)),
    ):
        if words:
            facts.add_row(name, Text(printable(words), "red" if name == "dead letters" else ""))
    return Group(title, bar, facts, *_shards(board))


def _shards(board: Board) -> list[RenderableType]:
    """The jobs in flight, the oldest first."""
    flying = sorted((shard for shard in board.shards if shard.state in _IN_FLIGHT), key=_age_of)
    if not flying:
        return []
    table = Table("shard", "state", "done", "failed", "age", "", box=None, pad_edge=False, header_style="dim")
    now = time.time()
    for shard in flying[:_MOST_SHARDS]:
        age = "" if shard.submitted_at is None else duration(now - shard.submitted_at)
        table.add_row(
            f"{shard.shard}{f' attempt {shard.attempt}' if shard.attempt else ''}",
            Text(shard.state, _COLOURS.get(shard.state, "")),
            f"{shard.done:,} of {shard.requests:,}",
            Text(f"{shard.failed:,}" if shard.failed else "", "red"),
            age,
            ProgressBar(total=max(1, shard.requests), completed=shard.done, width=24),
        )
    more = len(flying) - _MOST_SHARDS
    return [Text(""), table, *([Text(f"and {counted(more, 'more shard')} in flight", "dim")] if more > 0 else [])]


def _age_of(shard: ShardState) -> tuple[float, str]:
    return (float("inf") if shard.submitted_at is None else shard.submitted_at, shard.id)


def _many(boards: Sequence[Board]) -> RenderableType:
    """The runs in a table, and their sums."""
    table = Table(
        "run", "state", "", "rows", "dead letters", "rate", "left", "cost", box=None, pad_edge=False, header_style="dim"
    )
    above = posixpath.commonprefix([board.destination for board in boards]).rpartition("/")[0]
    for board in boards[:_MOST_RUNS]:
        left = board.pace.seconds_left
        table.add_row(
            Text(printable(board.destination.removeprefix(f"{above}/")), "bold", overflow="fold"),
            Text(board.state, _COLOURS.get(board.state, "cyan")),
            ProgressBar(total=1.0, completed=board.share, width=16),
            f"{board.done if board.state == 'running' else board.rows:,} of {board.rows:,}",
            Text(f"{board.dead_letter:,}" if board.dead_letter else "", "red"),
            rate(board.pace.rows_per_second),
            duration(left) if left else "",
            "" if board.cost.usd is None else dollars(board.cost.usd),
        )
    more = len(boards) - _MOST_RUNS
    known = [board.cost.usd for board in boards if board.cost.usd is not None]
    finished = sum(board.state == "finished" for board in boards)
    sums = [
        f"{finished:,} of {counted(len(boards), 'run')} finished",
        f"{sum(board.dead_letter for board in boards):,} dead letters",
        f"{dollars(sum(known))}{' so far' if finished < len(boards) else ''}" if known else "",
        f"{counted(more, 'run')} not shown" if more > 0 else "",
    ]
    return Group(Text(printable(above), "dim"), table, Text(" · ".join(filter(None, sums)), "dim"))
