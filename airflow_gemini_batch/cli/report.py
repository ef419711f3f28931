"""``gemini-batch report``: draw the page of a finished run again."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_report_command(subparsers: Any) -> None:
    """Add ``report`` to a program's commands."""
    about = "draw summary.html of a finished run again, from its summary and its tables; needs no API key"
    parser: argparse.ArgumentParser = subparsers.add_parser("report", help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.add_argument("destination", metavar="DESTINATION", help="folder or URI of the run")
    parser.add_argument("--json", action="store_true", help="print where the page is, and its size, as JSON")
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.report.summary_page import redraw_summary_page
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.engine.run.storage import locate

    run = Run(locate(arguments.destination))
    size = redraw_summary_page(run)
    print(json.dumps({"page": run.summary_page.uri, "bytes": size}, indent=1) if arguments.json else run.summary_page.uri)
    return 0
