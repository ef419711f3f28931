"""The ``gemini-batch`` command. Each subcommand is imported only when it is called."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Sequence

from airflow_gemini_batch import __version__

#: Command -> what adds its arguments to the program's parser (and sets ``run``), and what the list of commands says of it.
COMMANDS = {
    "cleanup": ("airflow_gemini_batch.cli.jobs:add_cleanup_command", "remove what finished runs have left at the service"),
    "demo": ("airflow_gemini_batch.cli.demo:add_demo_command", "take a real table through the emulator, inside Airflow"),
    "emulator": ("airflow_gemini_batch.emulator.cli:add_emulator_command", "serve a Gemini Batch API on this machine"),
    "files": ("airflow_gemini_batch.cli.jobs:add_files_command", "list and delete the files that the service holds"),
    "jobs": ("airflow_gemini_batch.cli.jobs:add_jobs_command", "list, show, cancel and delete batch jobs"),
    "webhooks": ("airflow_gemini_batch.cli.webhooks:add_webhooks_command", "register, list and delete webhooks"),
}


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    options = _parser(chosen=next((word for word in words if not word.startswith("-")), None)).parse_args(words)
    return int(options.run(options))


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gemini-batch", description="Whole tables through the Gemini Batch API.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    for name, (adder, about) in COMMANDS.items():
        if name == chosen:
            pkgutil.resolve_name(adder)(commands)
        else:
            commands.add_parser(name, help=about)
    return parser
