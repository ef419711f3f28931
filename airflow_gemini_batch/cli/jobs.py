"""The arguments of ``gemini-batch jobs``, ``files`` and ``cleanup``. The key comes from the environment alone: arguments are seen
by everyone on a machine, and kept in the shell's history."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import GeminiClient

_KEY = "The API key is taken from GOOGLE_API_KEY or GEMINI_API_KEY."
_AGES = "a time such as 2026-11-21T06:00Z, or an age such as 36h or 7d"
_STATES = "PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED, UNKNOWN, or ACTIVE for all that have not ended"

_Run = Callable[["GeminiClient", argparse.Namespace], int]


def add_jobs_command(subparsers: Any) -> argparse.ArgumentParser:
    """Adds `jobs` to a program's commands; `arguments.run(arguments)` runs it and answers the exit code."""
    parser, actions = _command(subparsers, "jobs", "list, show, cancel and delete batch jobs")
    listing = _action(actions, "list", "list jobs, newest first", _list_jobs)
    listing.add_argument("--state", action="append", metavar="STATE", help=f"{_STATES}; may be repeated")
    listing.add_argument("--display-name", metavar="PATTERN", help="of the whole name, with * and ?")
    listing.add_argument("--model", metavar="PATTERN")
    listing.add_argument("--created-after", metavar="TIME", help=_AGES)
    listing.add_argument("--created-before", metavar="TIME")
    _add_limit(listing)
    _add_names(_action(actions, "show", "show jobs with their counts, files and errors", _show_jobs), "batches/…")
    _add_names(_action(actions, "cancel", "ask for the end of jobs", _cancel_jobs), "batches/…")
    deleting = _action(actions, "delete", "remove ended jobs from the listing", _delete_jobs)
    _add_names(deleting, "batches/…")
    deleting.add_argument("--cancel", action="store_true", help="end a job first when it is active")
    return parser


def add_files_command(subparsers: Any) -> argparse.ArgumentParser:
    """Adds `files` to a program's commands."""
    parser, actions = _command(subparsers, "files", "list and delete the files that the service holds")
    listing = _action(actions, "list", "list files, newest first", _list_files)
    listing.add_argument("--display-name", metavar="PATTERN", help="of the whole name, with * and ?")
    _add_limit(listing)
    _add_names(_action(actions, "delete", "delete files; outputs of jobs only the service can delete", _delete_files), "files/…")
    return parser


def add_cleanup_command(subparsers: Any) -> argparse.ArgumentParser:
    """Adds `cleanup` to a program's commands."""
    about = "remove what finished runs have left at the service, and name jobs and files of ours that belong to none of them"
    parser: argparse.ArgumentParser = subparsers.add_parser("cleanup", help=about, description=_sentence(about))
    parser.add_argument("destinations", nargs="+", metavar="DESTINATION", help="a run, or a folder of runs")
    parser.add_argument(
        "--older-than", default="7d", metavar="AGE", help="delete jobs that ended so long ago (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--cancel-orphans",
        action="store_true",
        help="cancel active jobs of ours that none of these runs knows: name all runs of the project then",
    )
    _add_common(parser, _clean_up)
    return parser


def _command(subparsers: Any, name: str, about: str) -> tuple[argparse.ArgumentParser, Any]:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}. {_KEY}"
    )
    return parser, parser.add_subparsers(title="actions", metavar="action", required=True)


def _action(actions: Any, name: str, about: str, run: _Run) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about, description=_sentence(about))
    _add_common(parser, run)
    return parser


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}. {_KEY}"


def _add_common(parser: argparse.ArgumentParser, run: _Run) -> None:
    parser.add_argument("--base-url", help="default: Google's, or GOOGLE_GEMINI_BASE_URL")
    parser.set_defaults(run=lambda arguments: _with_client(run, arguments))


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=50, help="rows to show (default: %(default)s); all are counted")


def _add_names(parser: argparse.ArgumentParser, form: str) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help=form)


def _with_client(run: _Run, arguments: argparse.Namespace) -> int:
    # The SDK is loaded only now: the program's other commands do not pay for it.
    from airflow_gemini_batch.engine.errors import GeminiBatchError
    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient

    try:
        with GeminiClient(Endpoint(base_url=arguments.base_url)) as client:
            return run(client, arguments)
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # `gemini-batch jobs list | head`
        sys.stderr.close()
        return 0


def _list_jobs(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.screens import show_jobs
    from airflow_gemini_batch.engine.gemini.inventory import JobFilter, find_jobs

    wanted = JobFilter.of(
        state=arguments.state,
        display_name=arguments.display_name,
        model=arguments.model,
        created_after=arguments.created_after,
        created_before=arguments.created_before,
    )
    show_jobs(find_jobs(client, wanted), limit=arguments.limit)
    return 0


def _show_jobs(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.screens import show_job

    return _each(arguments.names, lambda name: show_job(client.get_job(name)))


def _cancel_jobs(client: GeminiClient, arguments: argparse.Namespace) -> int:
    def cancel(name: str) -> None:
        client.cancel_job(name)
        print(client.get_job(name))

    return _each(arguments.names, cancel)


def _delete_jobs(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.gemini.inventory import delete_job

    return _each(arguments.names, lambda name: print(name, delete_job(client, name, cancel=arguments.cancel).value))


def _list_files(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.screens import show_files
    from airflow_gemini_batch.engine.gemini.inventory import find_files

    show_files(find_files(client, arguments.display_name), limit=arguments.limit)
    return 0


def _delete_files(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.gemini.inventory import delete_file

    return _each(arguments.names, lambda name: print(name, delete_file(client, name).value))


def _clean_up(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.screens import show_report
    from airflow_gemini_batch.engine.cleanup import clean_up
    from airflow_gemini_batch.engine.gemini.inventory import duration
    from airflow_gemini_batch.engine.run.storage import locate

    report = clean_up(
        client,
        [locate(destination) for destination in arguments.destinations],
        older_than=duration(arguments.older_than, argument="--older-than"),
        dry_run=arguments.dry_run,
        cancel_orphans=arguments.cancel_orphans,
    )
    show_report(report)
    return 1 if report.failed else 0


def _each(names: list[str], act: Callable[[str], None]) -> int:
    """One that fails does not keep the others."""
    from airflow_gemini_batch.engine.errors import GeminiBatchError

    failed = 0
    for name in names:
        try:
            act(name)
        except GeminiBatchError as error:
            print(error, file=sys.stderr)
            failed += 1
    return 1 if failed else 0
