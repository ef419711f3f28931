"""The ``gemini-batch`` command. Each subcommand lives in a module of its own that is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from airflow_gemini_batch import __version__

#: Command -> module with ``main(argv) -> exit code``, and what the help says of it.
COMMANDS = {
    "demo": ("airflow_gemini_batch.demo", "take a real table through the emulator, inside Airflow, and show both tables"),
    "emulator": ("airflow_gemini_batch.emulator.cli", "serve a local stand-in for the Gemini Batch API"),
}


def main(argv: Sequence[str] | None = None) -> int:
    command, arguments = _parse(argv)
    module, _ = COMMANDS[command]
    code: int = importlib.import_module(module).main(arguments)
    return code


def _parse(argv: Sequence[str] | None) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(
        prog="gemini-batch",
        description="Whole tables through the Gemini Batch API.",
        epilog="\n".join(["commands:", *(f"  {name:<10} {about}" for name, (_, about) in COMMANDS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("command", choices=sorted(COMMANDS), metavar="command", help="see below; each has its own --help")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="passed to the command")
    options = parser.parse_args(argv)
    return options.command, options.arguments


if __name__ == "__main__":
    sys.exit(main())
