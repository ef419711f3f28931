"""``gemini-batch report``: draw the page of a finished run again."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_gemini_batch.cli.service import add_json, print_json, sentence


def add_report_command(subparsers: Any) -> None:
    """Add ``report`` to a program's commands."""
    about = "draw summary.html of a finished run again, from its summary and its tables; needs no API key"
    parser: argparse.ArgumentParser = subparsers.add_parser("report", help=about, description=sentence(about))
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URI of the run")
    add_json(parser, "print where the page is, and its size, as JSON")
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.report.summary_page import redraw_summary_page
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.engine.run.storage import locate

    run = Run(locate(arguments.destination))
    size = redraw_summary_page(run)
    if arguments.json:
        print_json({"page": run.summary_page.uri, "bytes": size})
    else:
        print(run.summary_page.uri)
    return 0
