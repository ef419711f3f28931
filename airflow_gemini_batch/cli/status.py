"""``gemini-batch status``: where a run stands, at one look."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_json, print_json, sentence

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.report.board import Board


def add_status_command(subparsers: Any) -> None:
    """Add ``status`` to a program's commands."""
    about = "say where a run stands: rows, shards, rate, time left, cost, dead letters; reads its folder and needs no API key"
    parser: argparse.ArgumentParser = subparsers.add_parser("status", help=about, description=sentence(about))
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URI of the run")
    add_json(parser, "print everything that is known, with each shard, as JSON")
    parser.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.report.board import read_board
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.engine.run.storage import locate

    run = Run(locate(arguments.destination))
    board = read_board(run)
    if board is None:
        run.built()  # which says why there is none
        return 1
    if arguments.json:
        print_json(board.as_dict())
    else:
        for name, value in _facts(board):
            print(f"{name:<13} {value}")
    return 0


def _facts(board: Board) -> list[tuple[str, str]]:
    """One line each, without those of which nothing is known."""
    from airflow_gemini_batch.cli.boards import cost_of, dead_letters_of, pace_of, rows_of, shards_of
    from airflow_gemini_batch.engine.finish.summary import in_words_of
    from airflow_gemini_batch.engine.printable import printable
    from airflow_gemini_batch.engine.report.words import moment

    facts = [
        ("run", board.destination),
        ("state", board.state),
        ("model", board.model.removeprefix("models/")),
        ("labels", in_words_of(board.labels)),
        ("rows", rows_of(board)),
        ("shards", shards_of(board)),
        ("rate", pace_of(board)),
        ("cost", cost_of(board)),
        ("dead letters", dead_letters_of(board)),
        ("last check", moment(board.checked_at)),
        ("finished", moment(board.finished_at)),
    ]
    return [(name, printable(value)) for name, value in facts if value]
