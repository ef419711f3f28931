"""``gemini-batch estimate``: what a run of a table would send and cost."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.request_arguments import add_request, request_in
from airflow_gemini_batch.cli.service import add_command, print_json
from airflow_gemini_batch.cli.summaries import add_run_options, options_of

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.estimate.result import Estimate, Range
    from airflow_gemini_batch.engine.gemini.client import Endpoint


def add_estimate_command(subparsers: Any) -> None:
    """Add ``estimate`` to a program's commands."""
    about = "say what a run of a table would send and cost, without sending anything"
    parser = add_command(subparsers, "estimate", about, _estimate)
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="file, folder, glob or URI of the table (repeatable)")
    parser.add_argument("--model", required=True, help="name of the model")
    add_request(parser)
    parser.add_argument("--key", help="the column that identifies a row (default: the row's number)")
    parser.add_argument("--trial", metavar="URI", help="destination of a finished run of the same request with sample=…")
    parser.add_argument("--reuse", action="append", metavar="URI", help="a finished run, or a folder of runs (repeatable)")
    parser.add_argument("--no-dedupe", action="store_true", help="rows with equal requests do not share one")
    parser.add_argument("--repeats", type=int, default=1, metavar="K", help="how often each row is sent (default: 1)")
    parser.add_argument("--count-tokens", type=int, metavar="N", help="let the service count the input of N requests (free)")
    add_run_options(parser, about_json="print the estimate as JSON")


def _estimate(endpoint: Endpoint, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.estimate.estimating import estimate

    found = estimate(
        arguments.source,
        request_in(arguments),
        model=arguments.model,
        trial=arguments.trial,
        reuse=arguments.reuse,
        dedupe=not arguments.no_dedupe,
        repeats=arguments.repeats,
        count_tokens=arguments.count_tokens,
        key=arguments.key,
        options=options_of(arguments),
        endpoint=endpoint,
    )
    if arguments.json:
        print_json(found.as_dict())
    else:
        print(_as_text(found))
    return 0


def _as_text(found: Estimate) -> str:
    lines = [str(found)]
    left_out = {"invalid": found.invalid, "deduplicated": found.deduplicated, "reused": found.reused}
    if any(left_out.values()):
        lines.append("not sent: " + ", ".join(f"{rows:,} {why}" for why, rows in left_out.items() if rows))
    named = {"input": found.input_tokens, "output": found.output_tokens, "thoughts": found.thoughts_tokens}
    if found.image_tokens.high:
        named["images"] = found.image_tokens
    lines += [f"{name} tokens: {_tokens(one)} ({one.basis})" for name, one in named.items()]
    return "\n".join([*lines, f"price: {found.price}", *(f"note: {note}" for note in found.notes)])


def _tokens(one: Range) -> str:
    middle = "" if one.middle is None else f", probably {one.middle:,.0f}"
    return f"{one.low:,.0f} to {'unknown' if one.high is None else f'{one.high:,.0f}'}{middle}"
