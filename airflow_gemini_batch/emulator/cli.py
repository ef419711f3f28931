"""`gemini-batch emulator` and `python -m airflow_gemini_batch.emulator`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from airflow_gemini_batch.emulator.options import Options, default_state_dir

_ABOUT = "Run a local Gemini Batch API for demos, tests and DAG development without an API key. Its answers are synthetic."

_HELP = {
    "pending_seconds": "seconds that a job stays PENDING (default: %(default)s)",
    "running_seconds": "seconds that a job stays RUNNING (default: %(default)s)",
    "max_active_jobs": "limit of active jobs per project (default: %(default)s)",
    "max_enqueued_tokens": "limit of tokens in a project's active jobs, per model (default: no limit)",
    "max_inline_bytes": "limit for the body of a create request, exclusive (default: %(default)s)",
    "max_file_bytes": "limit for one file (default: %(default)s)",
    "max_storage_bytes": "limit for all files of a project (default: %(default)s)",
    "file_hours": "hours until a file expires (default: %(default)s)",
    "processing_seconds": "seconds that an uploaded video stays PROCESSING (default: %(default)s)",
    "webhook_retry_seconds": "seconds until a failed webhook is retried, doubled each time (default: %(default)s)",
    "job_hours": "hours until an unfinished job expires (default: %(default)s)",
}
_CHOICES = {"overflow": ("refuse", "rest"), "taken_name": ("finalize", "start"), "webhook_targets": ("loopback", "any")}
_CHOICE_HELP = {
    "overflow": "above --max-active-jobs: answer 429, or queue the job in PENDING (default: %(default)s)",
    "webhook_targets": "which addresses webhooks are sent to (default: %(default)s)",
    "taken_name": "when to refuse an upload whose file name is in use (default: %(default)s)",
}

_LISTS = {
    "models": "names of models to know beside the service's own (default: none)",
    "control_hosts": "host names under which the control API answers, besides loopback ones (default: none)",
}


class _KeyRefused(argparse.Action):
    """Refuses a key in the arguments, without repeating it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.error("--key would show the key in the list of processes: use --keys-file or GEMINI_EMULATOR_KEYS")


def _keys_in(path: str) -> tuple[str, ...]:
    """The keys in a file: one a line; blank lines and lines that begin with # are skipped."""
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {path}: {error}") from None
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise argparse.ArgumentTypeError(f"{path} has no keys, expected one a line")
    return keys


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def add_emulator_command(subparsers: Any) -> argparse.ArgumentParser:
    """Adds the command `emulator`. `arguments.run(arguments)` runs it and returns the exit code."""
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
    parser.add_argument("--port", type=int, default=8787, help="port to listen on; 0 picks a free one (default: 8787)")
    parser.add_argument(
        "--state",
        type=Path,
        default=default_state_dir(),
        metavar="DIR",
        help="folder for files, jobs and settings (default: %(default)s)",
    )
    parser.add_argument(
        "--keys-file",
        dest="keys",
        type=_keys_in,
        default=preset.keys,
        metavar="FILE",
        help="file with the API keys to accept, one KEY or KEY=PROJECT a line (default: those in GEMINI_EMULATOR_KEYS, separated "
        'by commas; without either, every key that does not begin with "invalid")',
    )
    parser.add_argument("--key", action=_KeyRefused, nargs="?", help=argparse.SUPPRESS)
    for name, text in _LISTS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=_names, default=getattr(preset, name), metavar="NAME[,NAME]", help=text
        )
    for name, text in _HELP.items():
        kind = float if name.endswith(("_seconds", "_hours")) else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(preset, name), help=text)
    for name, choices in _CHOICES.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, choices=choices, default=getattr(preset, name), help=_CHOICE_HELP[name])
    parser.add_argument("--json", action="store_true", help="print the address as JSON when it is ready")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Imported here, so that the other commands of the program start faster.
    from airflow_gemini_batch.emulator.serving import READY, listen, server_for, url_of
    from airflow_gemini_batch.emulator.store import StateUnusable

    chosen = {field.name: getattr(arguments, field.name) for field in fields(Options)}
    try:
        listener = listen(arguments.host, arguments.port)
    except OSError as error:
        print(f"Cannot listen on {arguments.host}:{arguments.port}: {error}. Choose another --port.", file=sys.stderr)
        return 1
    with listener:
        try:
            server = server_for(arguments.state, Options(**chosen))
        except (StateUnusable, OSError) as error:
            print(f"Cannot use the state folder {arguments.state}: {error}", file=sys.stderr)
            return 1
        # The socket already accepts connections. They are answered as soon as the server is up.
        print(json.dumps({"url": url_of(listener)}) if arguments.json else READY + url_of(listener), flush=True)
        server.run(sockets=[listener])
    return 0
