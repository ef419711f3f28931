"""``gemini-batch collect``: finish a run without its source."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_command
from airflow_gemini_batch.cli.summaries import add_limit, add_run_options, log_to_stderr, options_of, print_summary, resumable

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint


def add_collect_command(subparsers: Any) -> None:
    """Add ``collect`` to a program's commands."""
    about = "finish a run without its source, whatever began it, and wait until its tables are complete"
    parser = add_command(subparsers, "collect", about, _collect)
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URI of the run")
    add_limit(parser)
    add_run_options(parser)


def _collect(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.api import collect

    log_to_stderr()
    options = options_of(arguments)
    with resumable():
        summary = collect(arguments.destination, max_cost_usd=arguments.max_cost_usd, options=options, endpoint=endpoint)
    print_summary(summary, as_json=arguments.json)
    return 0
