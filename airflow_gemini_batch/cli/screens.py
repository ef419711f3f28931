"""Jobs, files and reports as a person reads them: tables on a terminal, tab-separated lines in a pipe."""

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


def show_jobs(jobs: Sequence[Job], *, limit: int) -> None:
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
    _show(("name", "state", "age", "done", "failed", "model", "display name"), rows)
    _told(f"{len(jobs)} jobs", left_out=len(jobs) - len(rows))


def show_job(job: Job) -> None:
    for name, value in job_record(job).items():
        if value not in ("", None):
            print(f"{name:<13} {value}")


def show_files(files: Sequence[RemoteFile], *, limit: int) -> None:
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
    _show(("name", "size", "age", "kind", "display name"), rows)
    _told(f"{len(files)} files, {size(total_bytes(files))} of the project's 20 GB", left_out=len(files) - len(rows))


def show_report(report: CleanupReport) -> None:
    plan = report.plan
    done = "would be " if report.dry_run else ""
    _line("runs", [], f"{report.finished} finished, {report.unfinished} left alone because they are not")
    _line("unreadable runs", report.unreadable)
    _line(f"input files {done}deleted", [file.name for file in report.deleted_files], size(total_bytes(report.deleted_files)))
    _line(f"jobs {done}deleted", report.deleted_jobs)
    _line(f"jobs {done}cancelled", report.cancelled, "clean up again later to delete them" if report.cancelled else "")
    _line("jobs too young to be deleted", [job.name for job in plan.young])
    _line("output files that only the service can delete", plan.outputs)
    _line("orphan jobs", [f"{job.name} {job.state.value} {job.display_name}" for job in plan.orphan_jobs])
    _line(f"orphan jobs {done}cancelled", report.cancelled_orphans)
    _line("orphan files", [file.name for file in plan.orphan_files], size(total_bytes(plan.orphan_files)))
    _line("FAILED", report.failed)


def age(time: dt.datetime | None, now: dt.datetime) -> str:
    """As short as it is useful: ``45s``, ``12m``, ``7h``, ``3d``."""
    if time is None:
        return "?"
    seconds = max(0, int((now - time).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def size(count: int | None) -> str:
    if count is None:
        return "?"
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"


def _line(what: str, names: Iterable[str], more: str = "") -> None:
    every = list(names)
    if every or (more and what == "runs"):
        print(f"{what}: {more}" if what == "runs" else f"{what}: {len(every)}{f' ({more})' if more else ''}")
        for name in every:
            print(f"  {name}")


def _show(heads: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(map(str, row)))
        return
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        # As text: a display name may hold what rich takes for markup.
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    Console().print(table)


def _told(text: str, *, left_out: int) -> None:
    """Beside the table and not in it, so that a pipe gets the rows alone."""
    print(f"{text}{f'; {left_out} not shown (--limit)' if left_out > 0 else ''}", file=sys.stderr)
