"""``gemini-batch doctor``: check what runs depend on, and advise."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.exits import Exit
from airflow_gemini_batch.cli.service import add_endpoint, add_json, endpoint_in, print_json, sentence
from airflow_gemini_batch.engine.errors import GeminiBatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_gemini_batch.cli.checks import Check

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def add_doctor_command(subparsers: Any) -> None:
    """Add ``doctor`` to a program's commands."""
    about = "check versions, key, model, quota, storage and clocks, with advice for each; sends nothing that costs money"
    parser: argparse.ArgumentParser = subparsers.add_parser("doctor", help=about, description=sentence(about))
    parser.add_argument("destination", metavar="URI", nargs="?", help="a place for runs: checked for writing")
    parser.add_argument("--model", help="a model to look for, with its price")
    add_endpoint(parser)
    parser.add_argument("--offline", action="store_true", help="ask nothing of the service")
    add_json(parser, "print the checks as JSON")
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    checks = []
    for check in _checks(arguments):
        checks.append(check)
        if not arguments.json:
            _print(check)
    failed = any(check.state == "failed" for check in checks)
    if arguments.json:
        print_json({"well": not failed, "checks": [check._asdict() for check in checks]})
    return Exit.ERROR if failed else Exit.OK


def _checks(arguments: argparse.Namespace) -> Iterator[Check]:
    from airflow_gemini_batch.cli.checks import Check, check_clock, check_limits, check_service, check_storage, check_versions

    yield from check_versions()
    if not arguments.offline:
        try:
            endpoint = endpoint_in(arguments)
        except GeminiBatchError as error:
            yield Check("connection", "failed", str(error), "Correct the connection, or leave --conn-id out.")
        else:
            yield from check_service(endpoint, arguments.model)
            yield check_clock(endpoint)
            if endpoint.limits is not None:
                yield from check_limits(endpoint.limits)
    if arguments.destination is not None:
        yield from check_storage(arguments.destination)


def _print(check: Check) -> None:
    from rich.console import Console
    from rich.text import Text

    from airflow_gemini_batch.engine.printable import printable

    text = Text(f"{check.state:<8}", _COLOURS[check.state])
    text.append(f" {check.name}: {printable(check.found)}", "default")
    if check.advice:
        text.append(f"\n         → {printable(check.advice)}", "default")
    Console().print(text, soft_wrap=True)
