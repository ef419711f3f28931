"""The ``gemini-batch`` command: parse the arguments, run one subcommand, and turn its errors into an exit code.

A subcommand's module is imported only when that subcommand is called, and imports the engine, Arrow and the SDK only when it
runs. ``gemini-batch --help`` therefore costs no more than argparse.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import sys
from collections.abc import Sequence

from airflow_gemini_batch import __version__
from airflow_gemini_batch.cli.exits import Exit, exit_of
from airflow_gemini_batch.engine.errors import GeminiBatchError

#: Command -> the function that adds its parser (with ``run`` as a default), and its line in the list of commands.
COMMANDS = {
    "cleanup": ("airflow_gemini_batch.cli.cleanup:add_cleanup_command", "delete what finished runs left at the service"),
    "collect": ("airflow_gemini_batch.cli.collect:add_collect_command", "finish a run without its source"),
    "compare": (
        "airflow_gemini_batch.cli.compare:add_compare_command",
        "compare finished runs with a baseline; a gate for CI",
    ),
    "costs": ("airflow_gemini_batch.cli.costs:add_costs_command", "add up what runs have cost"),
    "demo": ("airflow_gemini_batch.cli.demo:add_demo_command", "run a real table through Airflow and the emulator"),
    "doctor": (
        "airflow_gemini_batch.cli.doctor:add_doctor_command",
        "check key, model, storage, clock and versions, and advise",
    ),
    "emulator": ("airflow_gemini_batch.emulator.cli:add_emulator_command", "serve a Gemini Batch API on this machine"),
    "estimate": (
        "airflow_gemini_batch.cli.estimate:add_estimate_command",
        "say what a run of a table would send and cost",
    ),
    "files": ("airflow_gemini_batch.cli.files:add_files_command", "list and delete the files stored at the service"),
    "jobs": ("airflow_gemini_batch.cli.jobs:add_jobs_command", "list, show, cancel and delete batch jobs"),
    "letters": ("airflow_gemini_batch.cli.letters:add_letters_command", "look at dead letters, send them again, discard them"),
    "redrive": ("airflow_gemini_batch.cli.letters:add_redrive_command", "resubmit dead letters of a finished run"),
    "report": ("airflow_gemini_batch.cli.report:add_report_command", "draw the page of a finished run again"),
    "run": ("airflow_gemini_batch.cli.run:add_run_command", "send a table and wait until both of its tables are written"),
    "score": ("airflow_gemini_batch.cli.score:add_score_command", "score the rows of a finished run"),
    "status": ("airflow_gemini_batch.cli.status:add_status_command", "say where a run stands"),
    "watch": ("airflow_gemini_batch.cli.watch:add_watch_command", "show runs on a live board until they are finished"),
    "webhooks": ("airflow_gemini_batch.cli.webhooks:add_webhooks_command", "register, list and delete webhooks"),
}


def main(argv: Sequence[str] | None = None, *, prog: str = "gemini-batch", conn_id: str | None = None) -> int:
    """Run one command.

    :param argv: the words after the program's name; None (the default) takes them from ``sys.argv``.
    :param prog: the program's name in help pages.
    :param conn_id: the Airflow connection of commands that call the service, unless they name one. Default: None, the key comes
        from the environment.

    Returns the exit code, see ``exits.Exit``. argparse exits with 2 by itself when the arguments are wrong.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser(next((word for word in words if not word.startswith("-")), None), prog=prog)
    arguments = parser.parse_args(words)
    if getattr(arguments, "conn_id", "") is None:
        arguments.conn_id = conn_id
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return exit_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # `gemini-batch jobs list | head` has read enough
        # Python flushes stdout once more when it exits, which would fail and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    return code


def build_parser(chosen: str | None = None, *, prog: str = "gemini-batch") -> argparse.ArgumentParser:
    """The program's parser, with the arguments of the chosen command only."""
    parser = argparse.ArgumentParser(prog=prog, description="Run whole tables through the Gemini Batch API.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    for name, (adder, about) in COMMANDS.items():
        if name == chosen:
            pkgutil.resolve_name(adder)(commands)
        else:
            commands.add_parser(name, help=about)
    return parser
