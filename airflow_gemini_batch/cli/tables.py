"""Jobs, files and cleanup reports as text: a table on a terminal, tab-separated lines without a header in a pipe.

Counts go to stderr, so that a pipe gets rows only.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from airflow_gemini_batch.engine.cleanup import CleanupReport
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.inventory import job_record, total_bytes
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, time_of

_COLOURS = {
    JobState.PENDING: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.EXPIRED: "red",
    JobState.CANCELLED: "dim",
}


def print_jobs(jobs: Sequence[Job], *, limit: int) -> None:
    """Print the first ``limit`` of them, one a row."""
    now = dt.datetime.now(dt.timezone.utc)
    rows = [
        (
            job.name,
            Text(job.state.value, _COLOURS.get(job.state, "magenta")),
            age(time_of(job.create_time), now),
            f"{job.stats.succeeded + job.stats.failed}/{job.stats.total}" if job.stats.total else "",
            str(job.stats.failed or ""),
            job.model.removeprefix("models/"),
            job.display_name,
        )
        for job in jobs[:limit]
    ]
    print_rows(("name", "state", "age", "done", "failed", "model", "display name"), rows)
    _print_count(f"{len(jobs)} jobs", left_out=len(jobs) - len(rows))


def text_of_job(job: Job) -> str:
    """One field a line, without the empty ones."""
    return "\n".join(f"{name:<13} {value}" for name, value in job_record(job).items() if value not in ("", None))


def print_files(files: Sequence[RemoteFile], *, limit: int) -> None:
    """Print the first ``limit`` of them, one a row."""
    now = dt.datetime.now(dt.timezone.utc)
    rows = [
        (
            file.name,
            size(file.size),
            age(file.create_time, now),
            "output" if file.is_output else "",
            file.display_name,
        )
        for file in files[:limit]
    ]
    print_rows(("name", "size", "age", "kind", "display name"), rows)
    _print_count(f"{len(files)} files, {size(total_bytes(files))} of the project's 20 GB", left_out=len(files) - len(rows))


def print_cleanup(report: CleanupReport) -> None:
    """Print one line for each kind of thing that was deleted, cancelled or found, with the names below it."""
    plan = report.plan
    done = "would be " if report.dry_run else ""
    print(f"runs: {report.finished} finished, {report.unfinished} unfinished and left unchanged")
    _print_names("unreadable runs", report.unreadable)
    _print_names(f"input files {done}deleted", [file.name for file in report.deleted_files], _total_size(report.deleted_files))
    _print_names(f"jobs {done}deleted", report.deleted_jobs)
    _print_names(f"jobs {done}cancelled", report.cancelled, "run cleanup again later to delete them")
    _print_names("jobs that ended too recently to be deleted", [job.name for job in plan.young])
    _print_names("output files that only the service can delete", plan.outputs)
    _print_names("orphan jobs", [f"{job.name} {job.state.value} {job.display_name}" for job in plan.orphan_jobs])
    _print_names(f"orphan jobs {done}cancelled", report.cancelled_orphans)
    _print_names("orphan files", [file.name for file in plan.orphan_files], _total_size(plan.orphan_files))
    _print_names("FAILED", report.failed)


def age(time: dt.datetime | None, now: dt.datetime) -> str:
    """The time since then in its largest unit of which there are at least two: ``45s``, ``119s``, ``12m``, ``7h``, ``3d``."""
    if time is None:
        return "?"
    seconds = max(0, int((now - time).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def size(count: int | None) -> str:
    """Bytes in decimal units, as the service's limits are given; ``?`` when the service did not report them."""
    if count is None:
        return "?"
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"


def _total_size(files: Iterable[RemoteFile]) -> str:
    return size(total_bytes(files))


def _print_names(what: str, names: Iterable[str], note: str = "") -> None:
    """Nothing when there are no names."""
    if found := list(names):
        print(f"{what}: {len(found)}{f' ({note})' if note else ''}")
        for name in found:
            print(f"  {name}")


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """A table on a terminal, tab-separated lines without a header in a pipe."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(map(str, row)))
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        # Text, not str: rich would read "[...]" in a display name as markup.
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    Console().print(table)


def _print_count(text: str, *, left_out: int) -> None:
    print(f"{text}{f'; {left_out} not shown (--limit)' if left_out > 0 else ''}", file=sys.stderr)
