"""``gemini-batch watch``: a run, or all runs below a folder, on a live board until they are finished."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_json, sentence

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.report.board import Board

#: What is done with the boards at each look.
_Show = Callable[[Sequence["Board"], float], None]

#: Fields of a board in a line of JSON; shards and events are in ``gemini-batch status --json``.
_FIELDS = (
    "destination",
    "state",
    "share",
    "rows",
    "asked",
    "done",
    "results",
    "dead_letter",
    "reasons",
    "states",
    "projected_usd",
)


def add_watch_command(subparsers: Any) -> None:
    """Add ``watch`` to a program's commands."""
    about = "show a run, or all runs below a folder, on a live board until they are finished; reads folders and needs no API key"
    parser: argparse.ArgumentParser = subparsers.add_parser("watch", help=about, description=sentence(about))
    parser.add_argument("place", metavar="DESTINATION|FOLDER", help="folder or URI of a run, or of folders with runs")
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="time between two looks, at least 0.1 (default: %(default)g)",
    )
    add_json(parser, "print one line of JSON at each look")
    parser.set_defaults(run=_watch)


def _watch(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from airflow_gemini_batch.cli.boards import Lines, picture_of
    from airflow_gemini_batch.engine.cleanup import runs_below
    from airflow_gemini_batch.engine.report.watching import Watch
    from airflow_gemini_batch.engine.run.storage import locate

    watch = Watch(locate(arguments.place), runs_below)
    console, lines = Console(), Lines()
    if arguments.json:
        _follow(watch.look, _print_json, arguments.interval)
    elif console.is_terminal:
        from rich.live import Live

        with Live(console=console, auto_refresh=False) as live:
            _follow(watch.look, lambda boards, _: live.update(picture_of(boards), refresh=True), arguments.interval)
    else:
        _follow(watch.look, lambda boards, now: _print_lines(lines.due(boards, now)), arguments.interval)
    return 0


def _follow(look: Callable[[float], Sequence[Board]], show: _Show, interval: float) -> None:
    """Look and show until every run is finished."""
    while True:
        now = time.time()
        boards = look(now)
        show(boards, now)
        if all(board.state == "finished" for board in boards):
            return
        time.sleep(interval)


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _print_json(boards: Sequence[Board], now: float) -> None:
    plain = [(board, board.as_dict()) for board in boards]
    runs = [
        {
            **{name: fields[name] for name in _FIELDS},
            "usd": board.cost.usd,
            "rows_per_second": board.pace.rows_per_second,
            "seconds_left": board.pace.seconds_left,
        }
        for board, fields in plain
    ]
    print(json.dumps({"at": now, "runs": runs}), flush=True)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 86400 seconds")
    return seconds
