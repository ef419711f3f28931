"""``gemini-batch demo``: arguments, and what can go wrong with a machine, said plainly."""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

_ABOUT = (
    "Describe Python's standard library: collect its public names into a table and take it through a real Airflow and an "
    "emulator of the Gemini Batch API. Needs no key and no network; the emulator's answers are synthetic."
)

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_demo_command(subparsers: Any) -> argparse.ArgumentParser:
    """Adds `demo` to a program's commands; `arguments.run(arguments)` runs it and answers the exit code."""
    parser: argparse.ArgumentParser = subparsers.add_parser("demo", help=_ABOUT, description=_ABOUT)
    parser.add_argument(
        "--folder", type=Path, default=Path("gemini-batch-demo"), help="where the tables go (default: ./%(default)s)"
    )
    parser.add_argument("--stay", action="store_true", help="leave Airflow running afterwards, to look around, until Ctrl-C")
    parser.set_defaults(run=_run)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # Airflow, Arrow and the emulator are loaded only now: the program's other commands do not pay for them.
    import httpx
    from rich.console import Console

    from airflow_gemini_batch.demo.local_airflow import LocalAirflowError
    from airflow_gemini_batch.demo.show import show

    console = Console()
    for ending in _ENDINGS:
        signal.signal(ending, _interrupt)
    try:
        folder = prepared(arguments.folder)
        return show(console, folder, stay=arguments.stay)
    except KeyboardInterrupt:
        console.print("Stopped. No process is left running.")
        return 130
    except (LocalAirflowError, OSError, RuntimeError, httpx.HTTPError) as error:
        console.print(f"The demo failed: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1


def prepared(folder: Path) -> Path:
    """The folder, made and tried. Raises OSError that says what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        # What the demo makes is nobody's source code, wherever it is run.
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise OSError(f"cannot write to {folder.absolute()}: {error.strerror}. Choose another place with --folder.") from None
    return folder.resolve()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    # Once is enough: a second Ctrl-C must not break off the tidying up.
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt
