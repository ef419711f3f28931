"""``gemini-batch jobs``: list, show, cancel and delete batch jobs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.cli.service import (
    add_command,
    add_group,
    add_json,
    add_limit,
    add_names,
    for_each,
    print_json,
    with_client,
)

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import GeminiClient

_STATES = "PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED, UNKNOWN, or ACTIVE for all that have not ended"


def add_jobs_command(subparsers: Any) -> None:
    """Add ``jobs`` to a program's commands."""
    actions = add_group(subparsers, "jobs", "list, show, cancel and delete batch jobs")
    listing = add_command(actions, "list", "list jobs, newest first", with_client(_list))
    listing.add_argument("--state", action="append", metavar="STATE", help=f"{_STATES}; may be repeated")
    listing.add_argument("--display-name", metavar="PATTERN", help="pattern for the whole name, with * and ?")
    listing.add_argument("--model", metavar="PATTERN", help="pattern for the whole model id, with * and ?")
    listing.add_argument("--created-after", metavar="TIME", help="a time such as 2026-11-21T06:00Z, or an age such as 36h or 7d")
    listing.add_argument("--created-before", metavar="TIME", help="a time or an age, as for --created-after")
    add_limit(listing)
    add_json(listing)
    showing = add_command(actions, "show", "show jobs with their counts, files and errors", with_client(_show))
    add_names(showing, "batches/…")
    add_names(add_command(actions, "cancel", "cancel jobs", with_client(_cancel)), "batches/…")
    deleting = add_command(actions, "delete", "delete ended jobs", with_client(_delete))
    add_names(deleting, "batches/…")
    deleting.add_argument("--cancel", action="store_true", help="cancel a job first if it is active")


def _list(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.tables import print_jobs
    from airflow_gemini_batch.engine.gemini.inventory import JobFilter, find_jobs, job_record

    wanted = JobFilter.of(
        state=arguments.state,
        display_name=arguments.display_name,
        model=arguments.model,
        created_after=arguments.created_after,
        created_before=arguments.created_before,
    )
    jobs = find_jobs(client, wanted)
    if arguments.json:
        print_json({"total": len(jobs), "jobs": [job_record(job) for job in jobs[: arguments.limit]]})
    else:
        print_jobs(jobs, limit=arguments.limit)
    return 0


def _show(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.cli.tables import text_of_job
    from airflow_gemini_batch.engine.gemini.inventory import job_record

    def show(name: str) -> tuple[dict[str, Any], str]:
        job = client.get_job(name)
        return job_record(job), text_of_job(job)

    return for_each(arguments, show)


def _cancel(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.gemini.inventory import job_record

    def cancel(name: str) -> tuple[dict[str, Any], str]:
        client.cancel_job(name)
        job = client.get_job(name)
        return job_record(job), str(job)

    return for_each(arguments, cancel)


def _delete(client: GeminiClient, arguments: argparse.Namespace) -> int:
    from airflow_gemini_batch.engine.gemini.inventory import delete_job

    def delete(name: str) -> tuple[dict[str, Any], str]:
        outcome = delete_job(client, name, cancel=arguments.cancel).value
        return {"name": name, "outcome": outcome}, f"{name} {outcome}"

    return for_each(arguments, delete)
