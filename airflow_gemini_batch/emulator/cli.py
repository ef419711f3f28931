"""`gemini-batch emulator` and `python -m airflow_gemini_batch.emulator`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from airflow_gemini_batch.emulator.options import Options, default_state_dir

_ABOUT = "A Gemini Batch API on this machine, for demos, tests and DAG development without a key. Answers are synthetic."

_HELP = {
    "pending_seconds": "how long a job stays in PENDING",
    "running_seconds": "how long a job stays in RUNNING",
    "max_active_jobs": "jobs of a project that may be active at once",
    "max_enqueued_tokens": "tokens of one model over a project's active jobs (default: no limit)",
    "max_inline_bytes": "a create request must stay below this",
    "max_file_bytes": "size of one file",
    "max_storage_bytes": "size of a project's files together",
    "file_hours": "life of a file",
    "processing_seconds": "how long an uploaded video stays in PROCESSING",
    "webhook_retry_seconds": "between the first two tries of a webhook, doubled each time",
    "job_hours": "after which a job that has not ended is EXPIRED",
}
_CHOICES = {"overflow": ("refuse", "rest"), "taken_name": ("finalize", "start"), "webhook_targets": ("loopback", "any")}
_CHOICE_HELP = {
    "overflow": "above --max-active-jobs: 429 at create, or a job that rests in PENDING",
    "webhook_targets": "whom webhooks are sent to",
    "taken_name": "when an upload under a taken name is refused",
}


def add_emulator_command(subparsers: Any) -> argparse.ArgumentParser:
    """Adds `emulator` to a program's commands; `arguments.run(arguments)` runs it and answers the exit code."""
    parser: argparse.ArgumentParser = subparsers.add_parser("emulator", help=_ABOUT, description=_ABOUT)
    _add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m airflow_gemini_batch.emulator", description=_ABOUT)
    _add_arguments(parser)
    arguments = parser.parse_args(argv)
    return int(arguments.run(arguments))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    preset = Options.from_environment()
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=int, default=8787, help="0 takes a free one (default: 8787)")
    parser.add_argument(
        "--state",
        type=Path,
        default=default_state_dir(),
        metavar="DIR",
        help="folder of the state (default: %(default)s)",
    )
    parser.add_argument(
        "--key",
        dest="keys",
        action="append",
        metavar="KEY[=PROJECT]",
        help='a good API key, may be repeated (default: every key that does not begin with "invalid")',
    )
    for name, text in _HELP.items():
        kind = float if name.endswith(("_seconds", "_hours")) else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(preset, name), help=text)
    for name, choices in _CHOICES.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, choices=choices, default=getattr(preset, name), help=_CHOICE_HELP[name])
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # The server is loaded only now: the program's other commands do not pay for it.
    from airflow_gemini_batch.emulator.serving import READY, listen, server_for, url_of
    from airflow_gemini_batch.emulator.store import StateUnusable

    chosen = {field.name: getattr(arguments, field.name) for field in fields(Options)}
    chosen["keys"] = tuple(chosen["keys"] or Options.from_environment().keys)
    try:
        listener = listen(arguments.host, arguments.port)
    except OSError as error:
        print(f"Cannot listen on {arguments.host}:{arguments.port}: {error}. Choose another --port.", file=sys.stderr)
        return 1
    with listener:
        try:
            server = server_for(arguments.state, Options(**chosen))
        except (StateUnusable, OSError) as error:
            print(f"Cannot keep the state in {arguments.state}: {error}", file=sys.stderr)
            return 1
        # The socket takes connections already; they are answered as soon as the server is up.
        print(READY + url_of(listener), flush=True)
        server.run(sockets=[listener])
    return 0
