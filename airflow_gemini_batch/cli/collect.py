"""``gemini-batch collect``: finish a run without its source."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_command
from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint


def add_collect_command(subparsers: Any) -> None:
    """Add ``collect`` to a program's commands."""
    about = "finish a run without its source, whatever began it, and wait until its tables are complete"
    parser = add_command(subparsers, "collect", about, _collect)
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URI of the run")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a field of BatchOptions, such as --option timeout=3600 (repeatable); give the ones that the run was started with",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def _collect(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.api import collect
    from airflow_gemini_batch.engine.options import BatchOptions

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options = BatchOptions.of_texts(dict(map(_name_and_value, arguments.option)))
    summary = collect(arguments.destination, options=options, endpoint=endpoint)
    if arguments.json:
        print(json.dumps(summary.as_dict(), indent=1))
    else:
        print(f"{summary.rows} rows: {summary.results} results, {summary.dead_letter} dead letters, in {summary.destination}")
    return 0


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--option is {text!r}; expected NAME=VALUE, such as timeout=3600.")
    return name, value
