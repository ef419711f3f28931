"""Jobs in the database: creating, finding, listing and settling them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import fields

import msgspec

from airflow_gemini_batch.emulator.batches.jobs import INTERNAL, Job, JobSnapshot, awaits_output, snapshot_of, writes_output
from airflow_gemini_batch.emulator.clock import HOUR
from airflow_gemini_batch.emulator.faults.kinds import JobFault, RowFault
from airflow_gemini_batch.emulator.files.file_store import File, FileStore
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.page_tokens import next_token, open_token
from airflow_gemini_batch.emulator.service import Service


class JobStore:
    """All jobs of all projects. Deleted jobs stay in the database for the control API; the other calls do not return them."""

    def __init__(self, service: Service, files: FileStore, announce: Callable[[Job, JobSnapshot], None]) -> None:
        self._service = service
        self._store = service.store
        self._files = files
        self._announce = announce

    def add(self, job: Job, row_faults: Sequence[RowFault]) -> None:
        """Stores a new job with the row faults that apply to its output."""
        values = {field.name: getattr(job, field.name) for field in fields(Job) if field.name != "number"}
        values["plan"] = msgspec.json.encode(job.plan).decode()
        values["deleted"] = int(job.deleted)
        self._store.insert("jobs", **values, row_faults=msgspec.json.encode(row_faults).decode())

    def get(self, project: str, job_id: str) -> Job:
        """Raises the service's 404 for a job that does not exist, was deleted or belongs to another project."""
        row = self._store.row("SELECT * FROM jobs WHERE id = ? AND project = ? AND deleted = 0", job_id, project)
        if row is None:
            raise refusals.not_found()
        return _job(row)

    def by_id(self, job_id: str) -> Job | None:
        row = self._store.row("SELECT * FROM jobs WHERE id = ?", job_id)
        return None if row is None else _job(row)

    def all_jobs(self) -> list[Job]:
        return [_job(row) for row in self._store.rows("SELECT * FROM jobs ORDER BY number")]

    def row_faults(self, job: Job) -> list[RowFault]:
        row = self._store.row("SELECT row_faults FROM jobs WHERE id = ?", job.id)
        return [] if row is None else msgspec.json.decode(row["row_faults"], type=list[RowFault])

    def page(self, project: str, size: int, token: str | None) -> tuple[list[Job], str | None]:
        """One page of the listing, newest first, and the token of the next page."""
        listing = self._service.rules.for_listing("batches")
        page, after = open_token(token, start=(-1, 0))
        size = min(size, listing.page_size or size)
        if page in listing.empty_pages:
            return [], next_token(page + 1, after)
        rows = self._store.rows(
            "SELECT * FROM (SELECT *, (? IS NOT NULL AND display_name REGEXP ?) AS buried FROM jobs"
            " WHERE project = ? AND deleted = 0 AND created_ns <= ?) WHERE (buried, -number) > (?, ?)"
            " ORDER BY buried, number DESC LIMIT ?",
            *(listing.bury, listing.bury or "", project),
            *(self._service.clock.now() - int(listing.lag_seconds * 1e9), *after, size + 1),
        )
        last = rows[size - 1] if len(rows) > size else None
        more = next_token(page + 1, (last["buried"], -last["number"])) if last is not None else None
        return [_job(row) for row in rows[:size]], more

    def active(self, project: str) -> list[Job]:
        """Jobs that are neither finished nor deleted. They count toward the limits."""
        now = self._service.clock.now()
        return [job for job in self._unsettled() if job.project == project and not snapshot_of(job, now).done]

    def unwritten(self) -> list[Job]:
        """Jobs whose output has not been written yet, oldest first."""
        now = self._service.clock.now()
        return [
            job
            for job in self._unsettled()
            if awaits_output(job, snapshot_of(job, now)) or (job.output_ns is None and writes_output(job.plan))
        ]

    def cancel(self, job: Job) -> None:
        self._store.run("UPDATE jobs SET cancelled_ns = ? WHERE id = ?", self._service.clock.now(), job.id)

    def delete(self, job: Job) -> None:
        self._store.run("UPDATE jobs SET deleted = 1 WHERE id = ?", job.id)
        self._store.content(f"{job.id}.in").unlink(missing_ok=True)

    def change(self, job: Job, display_name: str, priority: int) -> None:
        self._store.run("UPDATE jobs SET display_name = ?, priority = ? WHERE id = ?", display_name, priority, job.id)

    def fail(self, job: Job) -> None:
        """Marks the job to end as FAILED, at the time when it would have succeeded."""
        plan = msgspec.structs.replace(job.plan, do="fail", error_code=INTERNAL, cancel_leaves=None)
        self._store.run("UPDATE jobs SET plan = ? WHERE id = ?", msgspec.json.encode(plan).decode(), job.id)

    def count_poll(self, job: Job) -> None:
        self._store.run("UPDATE jobs SET polls = polls + 1 WHERE id = ?", job.id)

    def record_output(self, job: Job, rows: int, failed: int, sha256: str) -> None:
        self._store.run(
            "UPDATE jobs SET output_ns = ?, output_rows = ?, failed_rows = ?, output_sha256 = ? WHERE id = ?",
            *(self._service.clock.now(), rows, failed, sha256, job.id),
        )

    def settle(self) -> None:
        """Applies what is due by the clock: publishes the output of jobs that have ended, and starts queued jobs."""
        now = self._service.clock.now()
        unsettled = self._unsettled()
        for job in unsettled:
            snapshot = snapshot_of(job, now)
            if snapshot.done and not awaits_output(job, snapshot):
                with self._store.transaction():
                    if job.output_ns is not None and snapshot.successful + snapshot.failed:
                        self._publish(job, snapshot.ended_ns or now)
                    self._store.run("UPDATE jobs SET settled_ns = ? WHERE id = ?", snapshot.ended_ns, job.id)
                    self._announce(job, snapshot)
                self._store.content(f"{job.id}.in").unlink(missing_ok=True)
        if any(job.released_ns is None for job in unsettled):
            self._start_queued(now)

    def _publish(self, job: Job, ended_ns: int) -> None:
        if job.inline or self._files.find(job.project, job.output_id):
            return
        content = f"{job.id}.out"
        row = self._store.row("SELECT output_sha256 FROM jobs WHERE id = ?", job.id)
        hours = job.plan.output_lost_after_hours
        self._files.add(
            File(
                project=job.project,
                id=job.output_id,
                display_name="",
                mime_type="application/jsonl",
                size=self._store.content(content).stat().st_size,
                sha256=str(row["output_sha256"]) if row is not None else "",
                created_ns=ended_ns,
                expires_ns=ended_ns + int((self._service.options.file_hours if hours is None else hours) * HOUR),
                source="GENERATED",
                content=content,
            )
        )

    def _start_queued(self, now: int) -> None:
        queued = [job for job in self._unsettled() if job.released_ns is None and not snapshot_of(job, now).done]
        for job in queued:
            running = [other for other in self.active(job.project) if other.released_ns is not None]
            if len(running) < self._service.options.max_active_jobs:
                self._store.run("UPDATE jobs SET released_ns = ? WHERE id = ?", now, job.id)

    def _unsettled(self) -> list[Job]:
        rows = self._store.rows("SELECT * FROM jobs WHERE settled_ns IS NULL AND deleted = 0 ORDER BY number")
        return [_job(row) for row in rows]


def _job(row: sqlite3.Row) -> Job:
    values = {field.name: row[field.name] for field in fields(Job)}
    values["plan"] = msgspec.json.decode(values["plan"], type=JobFault)
    values["deleted"] = bool(values["deleted"])
    return Job(**values)
