"""``gemini-batch demo``: its arguments, and plain errors for whatever fails on this machine."""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from airflow_gemini_batch.cli.exits import Exit
from airflow_gemini_batch.cli.service import add_json, print_json
from airflow_gemini_batch.demo.signals import STOP_SIGNALS

_ABOUT = (
    "Describe Python's standard library: collect its public names into a table and run it through a real Airflow and an "
    "emulator of the Gemini Batch API. Needs no API key and no network; the emulator's answers are synthetic."
)


def add_demo_command(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``demo``. ``arguments.run(arguments)`` runs it and returns the exit code."""
    parser: argparse.ArgumentParser = subparsers.add_parser("demo", help=_ABOUT, description=_ABOUT)
    parser.add_argument(
        "--folder", type=Path, default=Path("gemini-batch-demo"), help="folder for the tables (default: ./%(default)s)"
    )
    parser.add_argument("--stay", action="store_true", help="keep Airflow running afterwards, until Ctrl-C")
    add_json(parser, "print the summary as JSON on stdout, and the progress on stderr")
    parser.set_defaults(run=_run)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # Airflow, Arrow and the emulator are imported only here, so that the other commands start quickly.
    import httpx
    from rich.console import Console

    from airflow_gemini_batch.demo.local_airflow import LocalAirflowError
    from airflow_gemini_batch.demo.run import run_demo

    console = Console(stderr=arguments.json)
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    try:
        summary = run_demo(console, writable_folder(arguments.folder), stay=arguments.stay)
    except KeyboardInterrupt:
        console.print("Stopped. No process is left running.")
        return Exit.INTERRUPTED
    except (LocalAirflowError, OSError, RuntimeError, httpx.HTTPError) as error:
        console.print(f"The demo failed: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return Exit.ERROR
    if arguments.json:
        print_json(summary)
    return Exit.OK if summary and summary["balanced"] else Exit.ERROR


def writable_folder(folder: Path) -> Path:
    """Create the folder, check that it can be written, and return its absolute path. Raises OSError with the remedy."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        # The demo may be run inside a repository; its output is not source code.
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise OSError(f"cannot write to {folder.absolute()}: {error.strerror}. Choose another folder with --folder.") from None
    return folder.resolve()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    # Further signals are ignored: a second Ctrl-C must not interrupt the cleanup.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
