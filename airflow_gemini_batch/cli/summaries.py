"""What the commands that finish a run share: their options, the log on stderr, and how a summary is printed."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_gemini_batch.cli.service import add_json, print_json
from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.finish.summary import Summary
    from airflow_gemini_batch.engine.options import BatchOptions


def add_run_options(parser: argparse.ArgumentParser, *, about_json: str = "print the summary as JSON") -> None:
    """Add ``--option`` and ``--json``."""
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a field of BatchOptions, such as --option timeout=3600 (repeatable); give the ones that the run was started with",
    )
    add_json(parser, about_json)


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-cost-usd``."""
    parser.add_argument(
        "--max-cost-usd", type=float, metavar="USD", help="send nothing that may cost more, with what the run has cost so far"
    )


def options_of(arguments: argparse.Namespace) -> BatchOptions:
    """The options that the arguments give. Raises InputError for a wrong one."""
    from airflow_gemini_batch.engine.options import BatchOptions

    return BatchOptions.of_texts(dict(map(_name_and_value, arguments.option)))


def log_to_stderr() -> None:
    """Show what happens: all events as lines, or warnings only above the bar of a terminal."""
    from airflow_gemini_batch.engine.wait.reports import shared_console, shows_bar

    console = shared_console()
    if not shows_bar(console):
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
        return
    from rich.logging import RichHandler

    handler = RichHandler(console=console, show_path=False, markup=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])


@contextlib.contextmanager
def resumable(how: str = "run the same command again to resume") -> Iterator[None]:
    """Say after Ctrl-C that the jobs go on.

    :param how: to get their answers.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"Interrupted. Submitted jobs continue at the service; {how}.", file=sys.stderr)
        raise


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """One line for people, or JSON."""
    if as_json:
        print_json(summary.as_dict())
    else:
        counts = f"{summary.rows} rows: {summary.results} results, {summary.dead_letter} dead letters"
        print(f"{counts}, {summary.cost}, in {summary.destination}")


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--option is {text!r}; expected NAME=VALUE, such as timeout=3600.")
    return name, value
