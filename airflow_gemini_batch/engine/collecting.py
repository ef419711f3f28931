"""A settled job's output becomes the shard's part of the two tables.

The output file is kept in the run, byte for byte, before anything is read from it: the service keeps it for about two days
only, and every later step can be repeated from our copy.
"""

from __future__ import annotations

import datetime as dt
import logging

from airflow_gemini_batch.engine.client import GeminiClient
from airflow_gemini_batch.engine.errors import NotFoundError, OutcomeUnknownError, RefusedError, ServiceError
from airflow_gemini_batch.engine.jobs import Job, JobState
from airflow_gemini_batch.engine.landing import Ending, Landed, land
from airflow_gemini_batch.engine.ledger import Ledger
from airflow_gemini_batch.engine.reasons import Reason, is_retryable
from airflow_gemini_batch.engine.runs import Run, Shard, read_json

log = logging.getLogger(__name__)

#: What becomes of the rows for which a job has no answer, by the job's state.
_REASONS: dict[JobState, Reason] = {
    JobState.SUCCEEDED: Reason.MISSING,
    JobState.FAILED: Reason.JOB_FAILED,
    JobState.CANCELLED: Reason.JOB_CANCELLED,
    JobState.EXPIRED: Reason.JOB_EXPIRED,
}


def landed(run: Run, shard: Shard) -> Landed | None:
    """The counts of a shard that has been collected, or None."""
    return read_json(run.landed_file(shard.id), Landed)


def collect(run: Run, client: GeminiClient, shard: Shard, job: Job | None, *, keep_response: bool = True) -> Landed:
    """Download a settled job's output and write the shard's parts; finished work is found and not repeated.

    :param job: None for a shard without a request, which becomes no job.
    """
    done = landed(run, shard)
    if done is not None:
        return done
    if job is not None:
        Ledger(run).record_end(shard.id, job)
        if job.output_file is not None:
            download(run, client, shard, job)
    counts = land(run, shard, ending_of(job), keep_response=keep_response)
    log.info(
        "Shard %s: %d results, %d dead letters%s.", shard.id, counts.results, counts.dead_letter, f" from {job}" if job else ""
    )
    if job is not None and job.input_file is not None:
        give_back(client, job.input_file)
    return counts


def download(run: Run, client: GeminiClient, shard: Shard, job: Job) -> None:
    """Bring the job's output into the run, whole. A copy of the right size is not fetched again."""
    assert job.output_file is not None
    target = run.responses_file(shard.id)
    expected = _size(client, job.output_file)
    if target.exists() and expected in (None, target.size()):
        return
    try:
        with target.receiving() as path:
            client.download(job.output_file, path)
            received = path.stat().st_size
            if expected is not None and received != expected:
                raise OutcomeUnknownError(
                    f"{job.output_file} came with {received} of {expected} bytes. Nothing was kept; run the same again."
                )
    except NotFoundError as error:
        raise _gone(job, error) from error
    except RefusedError as error:
        if error.code == 403:
            raise _gone(job, error) from error
        raise
    log.info("Downloaded %s: %.1f MB.", job.output_file, received / 1e6)


def ending_of(job: Job | None) -> Ending:
    """What becomes of the rows that the output does not answer."""
    if job is None:
        return Ending(job=None, reason=Reason.MISSING)
    reason = Reason.MISSING if job.ended_well else _REASONS.get(job.state, Reason.JOB_FAILED)
    return Ending(
        job=job.name,
        reason=reason,
        code=job.error_code,
        message=job.error_message or f"{job.name} ended as {job.wire_state or job.state.value} without an answer for this row",
        retryable=is_retryable(reason, job.error_code),
        ended_at=_time(job.end_time or job.update_time),
    )


def give_back(client: GeminiClient, input_file: str) -> None:
    """Delete a job's input file: the project's 20 GB are filled by what nobody needs any more. Best effort."""
    try:
        client.delete_file(input_file)
    except ServiceError as error:
        log.warning("%s It will expire by itself, 48 hours after its upload.", error)


def _size(client: GeminiClient, name: str) -> int | None:
    """Bytes, or None: the service has refused to describe its own output files for a while (their ids are too long for it)."""
    try:
        file = client.get_file(name)
    except RefusedError:
        return None
    return file.size if file is not None else None


def _gone(job: Job, error: ServiceError) -> NotFoundError:
    ended = _time(job.end_time)
    late = f" The job ended {(dt.datetime.now(dt.timezone.utc) - ended).total_seconds() / 3600:.0f} hours ago." if ended else ""
    return NotFoundError(
        f"The output {job.output_file} of {job.name} cannot be read: {error}{late} Output is kept for about 48 hours and is "
        "visible only to keys of the project that made the job.",
        code=error.code,
        status=error.status,
    )


def _time(text: str) -> dt.datetime | None:
    """RFC 3339 as the service writes it, with up to nine digits of a second."""
    head, _, rest = text.rstrip("Z").partition(".")
    try:
        return dt.datetime.fromisoformat(f"{head}.{(rest[:6] or '0').ljust(6, '0')}+00:00")
    except ValueError:
        return None
