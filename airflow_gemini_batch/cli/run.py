"""``gemini-batch run``: send a table through the Gemini Batch API and wait until both of its tables are written."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.request_arguments import add_request, request_in
from airflow_gemini_batch.cli.service import add_command
from airflow_gemini_batch.cli.summaries import (
    add_limit,
    add_run_options,
    log_to_stderr,
    options_of,
    print_summary,
    resumable,
)
from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint


def add_run_command(subparsers: Any) -> None:
    """Add ``run`` to a program's commands."""
    about = "send a table through the Gemini Batch API and wait until its results and dead letters are written"
    parser = add_command(subparsers, "run", about, _run)
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="file, folder, glob or URI of the table (repeatable)")
    parser.add_argument("--destination", required=True, metavar="URI", help="folder or URI that receives both tables")
    parser.add_argument("--model", required=True, help="name of the model")
    add_request(parser)
    parser.add_argument("--key", help="the column that identifies a row (default: the row's number)")
    parser.add_argument("--carry", action="append", metavar="COLUMN", help="column to copy into both tables (repeatable)")
    parser.add_argument("--label", action="append", metavar="NAME=VALUE", help="who or what the run is for (repeatable)")
    parser.add_argument("--reuse", action="append", metavar="URI", help="a finished run, or a folder of runs (repeatable)")
    parser.add_argument("--no-dedupe", action="store_true", help="rows with equal requests do not share one")
    parser.add_argument("--repeats", type=int, default=1, metavar="K", help="how often each row is sent (default: %(default)s)")
    parser.add_argument("--sample", type=int, metavar="N", help="draw N rows and send only these, as a trial for `estimate`")
    parser.add_argument(
        "--if-exists",
        choices=("resume", "replace"),
        default="resume",
        help="what to do with a run at the destination; replace drops its paid answers (default: %(default)s)",
    )
    add_limit(parser)
    add_run_options(parser)


def _run(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.api import run_batch

    request, options = request_in(arguments), options_of(arguments)
    labels = dict(_label(text) for text in arguments.label or ())
    log_to_stderr()
    with resumable():
        summary = run_batch(
            arguments.source,
            request,
            model=arguments.model,
            destination=arguments.destination,
            key=arguments.key,
            carry=arguments.carry or (),
            dedupe=not arguments.no_dedupe,
            reuse=arguments.reuse,
            labels=labels,
            sample=arguments.sample,
            repeats=arguments.repeats,
            max_cost_usd=arguments.max_cost_usd,
            if_exists=arguments.if_exists,
            options=options,
            endpoint=endpoint,
        )
    print_summary(summary, as_json=arguments.json)
    return 0


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--label is {text!r}; expected NAME=VALUE, such as team=search.")
    return name, value
