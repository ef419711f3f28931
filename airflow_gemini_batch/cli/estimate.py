"""``gemini-batch estimate``: what a run of a table would send and cost."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import add_command
from airflow_gemini_batch.cli.summaries import add_run_options, options_of
from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.estimate.result import Estimate, Range
    from airflow_gemini_batch.engine.gemini.client import Endpoint
    from airflow_gemini_batch.engine.specs import RequestSpec


def add_estimate_command(subparsers: Any) -> None:
    """Add ``estimate`` to a program's commands."""
    about = "say what a run of a table would send and cost, without sending anything"
    parser = add_command(subparsers, "estimate", about, _estimate)
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="file, folder, glob or URI of the table (repeatable)")
    parser.add_argument("--model", required=True, help="name of the model")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--prompt", help="the prompt, with ${column} for the values of a row")
    asked.add_argument(
        "--request", metavar="FILE", help='a request as JSON: {"type": "generate", "prompt": …}, likewise embed and raw'
    )
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
        _request(arguments),
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
    print(json.dumps(found.as_dict(), indent=1) if arguments.json else _as_text(found))
    return 0


def _request(arguments: argparse.Namespace) -> RequestSpec:
    from airflow_gemini_batch.engine.specs import GenerateRequest, request_of

    if arguments.prompt is not None:
        return GenerateRequest(prompt=arguments.prompt)
    try:
        form = json.loads(Path(arguments.request).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--request: {arguments.request} cannot be read: {error}") from error
    if not isinstance(form, dict):
        raise InputError(f'--request: {arguments.request} is not a JSON object such as {{"type": "generate", "prompt": …}}.')
    return request_of(form)


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
