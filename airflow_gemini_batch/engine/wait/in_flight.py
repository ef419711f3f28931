"""One job of a run as it is now, and whether it makes progress."""

from __future__ import annotations

import time

from airflow_gemini_batch.engine.errors import NotFoundError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.job_fetching import Fetched, fetch_jobs
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger, Seen
from airflow_gemini_batch.engine.wait.waiting import is_settled


def current_job(run: Run, client: GeminiClient, part: ShardAttempt, name: str) -> Job:
    """One job as it is now, or as it ended when that is on record.

    Raises NotFoundError when the service does not find it, and what else the service refuses.
    """
    return job_of(run, part, name, fetch_jobs(client, [name])[name])


def job_of(run: Run, part: ShardAttempt, name: str, fetched: Fetched) -> Job:
    """The job that was fetched, or as it ended when that is on record. Raises NotFoundError, or the error that was fetched."""
    if isinstance(fetched, ServiceError):
        raise fetched
    job = fetched or _remembered(run, part)
    if job is None:
        raise lost(part, name)
    return job


def _remembered(run: Run, part: ShardAttempt) -> Job | None:
    """The job as it ended, where that is enough to collect it."""
    job = Ledger(run).ended(part)
    return job if job is not None and is_settled(job) else None


def stuck_in(run: Run, part: ShardAttempt, job: Job, *, after: float, now: float | None = None) -> float:
    """Seconds until this job counts as stuck; 0 or less: it does now.

    :param after: seconds without progress: neither its state nor its counts of done requests have changed.
    """
    now = time.time() if now is None else now
    ledger = Ledger(run)
    seen = ledger.seen(part)
    done = job.stats.succeeded + job.stats.failed
    if seen is None or (seen.state, seen.done) != (job.wire_state, done):
        ledger.record_seen(part, Seen(job.wire_state, done, now))
        return after
    return seen.since + after - now


def lost(part: ShardAttempt, name: str) -> NotFoundError:
    """The error of a job that was recorded and that the service does not find."""
    return NotFoundError(
        f"Shard {part} was submitted as {name}, and the service does not find that job. It is visible only to keys of the "
        "project that made it: check that the connection's key is the one that submitted. Nothing was submitted again, because "
        "a job that cannot be seen may still run. If it is certainly lost, set resubmit_lost=True: its rows are then paid once "
        "more.",
        code=404,
    )
