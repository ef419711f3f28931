"""``gemini-batch redrive``: resubmit dead letters of a finished run into the same tables."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_command
from airflow_gemini_batch.cli.summaries import add_limit, add_run_options, log_to_stderr, options_of, print_summary

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint


def add_redrive_command(subparsers: Any) -> None:
    """Add ``redrive`` to a program's commands."""
    about = "resubmit dead letters of a finished run into the same tables, and wait until they are complete"
    parser = add_command(subparsers, "redrive", about, _redrive)
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URI of the run")
    parser.add_argument(
        "--reason",
        action="append",
        metavar="REASON",
        help="dead letters with this reason or finish reason, such as JOB_CANCELLED (repeatable; default: all retryable ones)",
    )
    parser.add_argument("--key", action="append", metavar="KEY", help="the dead letter with this key (repeatable)")
    parser.add_argument("--include-discarded", action="store_true", help="resubmit letters that were discarded too")
    add_limit(parser)
    add_run_options(parser)


def _redrive(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.api import redrive

    log_to_stderr()
    options = options_of(arguments)
    summary = redrive(
        arguments.destination,
        reasons=arguments.reason,
        keys=arguments.key,
        include_discarded=arguments.include_discarded,
        max_cost_usd=arguments.max_cost_usd,
        options=options,
        endpoint=endpoint,
    )
    print_summary(summary, as_json=arguments.json)
    return 0
