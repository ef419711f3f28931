"""The state of a job at a given time: a pure function of its stored data and the clock.

A job's state depends only on time, its plan and a cancel, so a restart of the emulator does not change it. The only work behind
a job is writing its output. A job succeeds only after its output is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_gemini_batch.emulator.clock import nanoseconds
from airflow_gemini_batch.emulator.faults.kinds import JobFault

PENDING = "BATCH_STATE_PENDING"
RUNNING = "BATCH_STATE_RUNNING"
SUCCEEDED = "BATCH_STATE_SUCCEEDED"
FAILED = "BATCH_STATE_FAILED"
CANCELLED = "BATCH_STATE_CANCELLED"
EXPIRED = "BATCH_STATE_EXPIRED"

#: gRPC codes used in a job's top-level error.
INTERNAL = 13
DEADLINE_EXCEEDED = 4


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored. All times are nanoseconds since 1970 by the emulator's clock."""

    id: str
    project: str
    kind: str
    """`generate` or `embed`; `openai-generate` or `openai-embed` for jobs of the OpenAI compatibility layer."""

    model: str
    display_name: str
    file_name: str | None
    """The input file; None for an inline job."""

    request_count: int
    created_ns: int
    released_ns: int | None
    """When its pending time began; None while it is queued above the limit of active jobs."""

    pending_ns: int
    running_ns: int
    lifetime_ns: int
    plan: JobFault = field(default_factory=JobFault)
    """The fault rule that matched at create; the default is the normal course."""

    priority: int = 0
    tokens: int = 0
    cancelled_ns: int | None = None
    output_ns: int | None = None
    """When the output was written; None before that."""

    output_rows: int = 0
    failed_rows: int = 0
    settled_ns: int | None = None
    """When it ended. Set once its output (if any) is published; after that the job does not change any more."""

    polls: int = 0
    """How many get and list calls have returned it since it ended."""

    deleted: bool = False
    number: int = 0

    @property
    def name(self) -> str:
        return f"batches/{self.id}"

    @property
    def output_id(self) -> str:
        """The id of the output file: 42 characters, two more than the Files API allows for other files."""
        return f"batch-{self.id}"

    @property
    def inline(self) -> bool:
        return self.file_name is None


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """The state of a job at one time."""

    state: str
    updated_ns: int
    done: bool = False
    ended_ns: int | None = None
    error: dict[str, Any] | None = None
    has_output: bool = False
    successful: int = 0
    failed: int = 0
    pending: int = 0


def snapshot_of(job: Job, now: int) -> JobSnapshot:
    """The state of `job` at `now` (nanoseconds)."""
    plan = job.plan
    expires = job.created_ns + job.lifetime_ns
    start = job.released_ns + job.pending_ns if job.released_ns is not None else expires
    end = start + job.running_ns

    cancelled = _cancelled_at(job, end)
    if cancelled is not None and now >= cancelled:
        return _cancelled(job, cancelled, start, end)
    if plan.do == "hang" or job.released_ns is None:
        start = expires if plan.hang_in == "PENDING" or job.released_ns is None else start
        end = expires
    if now >= expires and end >= expires:
        return _ended_with_error(job, EXPIRED, expires, DEADLINE_EXCEEDED, f"Batch {job.id} expired.")
    if now < start:
        return JobSnapshot(PENDING, job.created_ns, pending=job.request_count)
    if now < end:
        finished = 0 if plan.do == "hang" else _progress(job, now - start)
        return _running(job, start if plan.do == "hang" else now, finished)
    if plan.do == "fail":
        return _ended_with_error(job, FAILED, end, plan.error_code, plan.error_message)
    if plan.do == "expire":
        return _ended_with_error(job, EXPIRED, end, DEADLINE_EXCEEDED, f"Batch {job.id} expired.")
    if job.output_ns is None:
        return _running(job, end, job.request_count)
    end = max(end, job.output_ns)
    return JobSnapshot(
        plan.state or SUCCEEDED,
        end,
        done=True,
        ended_ns=end,
        has_output=_output_is_visible(job, end, now),
        successful=job.request_count - job.failed_rows,
        failed=job.failed_rows,
    )


def answered_at(job: Job, index: int, now: int) -> int:
    """When request number `index` (from 0) is answered. For a queued job: as if it started at `now`."""
    start = (now if job.released_ns is None else job.released_ns) + job.pending_ns
    return start + job.running_ns * index // job.request_count


def writes_output(plan: JobFault) -> bool:
    """Whether a job with this plan will ever have output. For other jobs none is written."""
    return plan.do == "succeed" or (plan.do == "cancel" and plan.cancel_leaves is not None)


def rows_left_by_cancel(job: Job) -> int | None:
    """How many rows of output a cancelled job has; None for no output."""
    leaves = job.plan.cancel_leaves
    return None if leaves is None else int(job.request_count * leaves)


def rows_to_write(job: Job) -> int:
    """How many rows to write to the output now."""
    left = rows_left_by_cancel(job) if job.cancelled_ns is not None or job.plan.do == "cancel" else None
    return job.request_count if left is None else left


def awaits_output(job: Job, snapshot: JobSnapshot) -> bool:
    """Whether a cancelled job has output rows that are not written yet."""
    return snapshot.state == CANCELLED and rows_left_by_cancel(job) is not None and not snapshot.has_output


def _cancelled_at(job: Job, end: int) -> int | None:
    if job.cancelled_ns is not None:
        return job.cancelled_ns
    if job.plan.do == "cancel":
        return job.created_ns + nanoseconds(job.plan.cancel_after_seconds)
    return None


def _cancelled(job: Job, moment: int, start: int, end: int) -> JobSnapshot:
    """As observed at the service: terminal at once, an error with code 13, and unchanged counters."""
    left = rows_left_by_cancel(job)
    elapsed = min(moment, end) - start
    finished = left if left is not None else _progress(job, elapsed) if elapsed > 0 and job.plan.do != "hang" else 0
    failed = min(job.failed_rows, finished) if left is not None else 0
    return JobSnapshot(
        CANCELLED,
        moment,
        done=True,
        ended_ns=moment,
        error={"code": INTERNAL, "message": f"Batch {job.id} failed without error."},
        has_output=left is not None and job.output_ns is not None and job.output_rows == left,
        successful=finished - failed,
        failed=failed,
        pending=job.request_count - finished,
    )


def _ended_with_error(job: Job, state: str, moment: int, code: int, message: str) -> JobSnapshot:
    error = {"code": code, "message": message}
    return JobSnapshot(state, moment, done=True, ended_ns=moment, error=error, pending=job.request_count)


def _running(job: Job, updated: int, finished: int) -> JobSnapshot:
    return JobSnapshot(RUNNING, updated, successful=finished, pending=job.request_count - finished)


def _progress(job: Job, elapsed: int) -> int:
    return job.request_count * elapsed // job.running_ns if job.running_ns else job.request_count


def _output_is_visible(job: Job, end: int, now: int) -> bool:
    plan = job.plan
    return job.polls >= plan.responses_file_late_polls and now >= end + nanoseconds(plan.responses_file_late_seconds)
