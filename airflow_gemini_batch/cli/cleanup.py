"""``gemini-batch cleanup``: delete the jobs and input files of finished runs, and report orphans."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_command, add_json, print_json, with_client

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import GeminiClient


def add_cleanup_command(subparsers: Any) -> None:
    """Add ``cleanup`` to a program's commands."""
    about = "delete what finished runs left at the service, and report jobs and files of this package that belong to no run"
    parser = add_command(subparsers, "cleanup", about, with_client(_clean_up))
    parser.add_argument("destinations", nargs="+", metavar="DESTINATION", help="a run, or a folder of runs")
    parser.add_argument(
        "--older-than",
        default="7d",
        metavar="AGE",
        help="delete jobs that ended at least this long ago (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
    parser.add_argument(
        "--cancel-orphans",
        action="store_true",
        help="also cancel this package's active jobs that belong to none of the runs; name all runs of the project then",
    )
    add_json(parser, "print the report, with all names, as JSON")


def _clean_up(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.tables import print_cleanup
    from airflow_gemini_batch.engine.cleanup import clean_up
    from airflow_gemini_batch.engine.gemini.inventory import duration
    from airflow_gemini_batch.engine.run.storage import locate

    report = clean_up(
        client,
        [locate(destination) for destination in arguments.destinations],
        older_than=duration(arguments.older_than, argument="--older-than"),
        dry_run=arguments.dry_run,
        cancel_orphans=arguments.cancel_orphans,
    )
    if arguments.json:
        print_json(report.as_dict(max_names=sys.maxsize))
    else:
        print_cleanup(report)
    return 1 if report.failed else 0
