"""A settled job's output becomes the shard's part of the two tables.

The output file is kept in the run, byte for byte, before anything is read from it: the service keeps it for about two days
only, and every later step can be repeated from our copy.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from pathlib import Path

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.errors import CorruptRunError, NotFoundError, OutcomeUnknownError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, time_of
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.response.reasons import Reason, is_retryable
from airflow_gemini_batch.engine.response.responses import Garbage, classify
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.run.ledger import Landed, Ledger
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES, Location
from airflow_gemini_batch.engine.submit.inline import receive_inline

log = logging.getLogger(__name__)

#: An output with fewer lines than the job has counted is downloaded so many times before it is believed.
_MOST_DOWNLOADS = 3

#: What becomes of the rows for which a job has no answer, by the job's state.
_REASONS: dict[JobState, Reason] = {
    JobState.SUCCEEDED: Reason.MISSING,
    JobState.FAILED: Reason.JOB_FAILED,
    JobState.CANCELLED: Reason.JOB_CANCELLED,
    JobState.EXPIRED: Reason.JOB_EXPIRED,
}


def collect(
    run: Run,
    client: GeminiClient,
    shard: Shard,
    job: Job | None,
    options: BatchOptions,
    *,
    manifest: Manifest | None = None,
) -> Landed:
    """Download a settled job's output and write the shard's parts of both tables. Finished work is found and not repeated.

    :param job: None for a shard without a request, which has no job.
    :param options: ``keep_response`` and ``media_to`` say what the parts hold; with ``resubmit_lost``, the rows of an output that
        the service no longer has become retryable dead letters.

    Returns the counts. Raises NotFoundError when the output is gone, OutcomeUnknownError when the service does not give it yet,
    CorruptRunError when files of the run are absent or were changed.
    """
    ledger = Ledger(run)
    landed = ledger.landed(shard.id)
    if landed is not None:
        return landed
    cancelled_by_us = False
    if job is not None:
        ledger.record_end(shard.id, job)
        cancelled_by_us = ledger.cancellation(shard.id) is not None
        # An inline job that ended badly may hold answers all the same, which no listing shows.
        if job.output_file is not None or job.ended_well or job.input_file is None:
            try:
                download(run, client, shard, job)
            except NotFoundError as error:
                if (job.ended_well or job.output_file is not None) and not options.resubmit_lost:
                    raise
                log.warning("%s Its rows count as unanswered.", error)
    ending = ending_of(job, cancelled_by_us=cancelled_by_us)
    counts = land(run, shard, ending, keep_response=options.keep_response, media_to=options.media_to, manifest=manifest)
    log.info(
        "Shard %s: %d results, %d dead letters%s.", shard.id, counts.results, counts.dead_letter, f" from {job}" if job else ""
    )
    if job is not None and (input_file := job.input_file or _input_file(run, shard)) is not None:
        delete_input(client, input_file)
    return counts


def download(run: Run, client: GeminiClient, shard: Shard, job: Job) -> None:
    """Bring the job's output into the run, whole. A copy of the right size is not fetched again.

    Raises OutcomeUnknownError when the service does not give it yet.
    """
    target = run.responses_file(shard.id)
    if job.output_file is None:
        if not target.exists():
            try:
                operation = client.get_operation(job.name)
            except NotFoundError as error:
                raise _gone(job, error) from error
            receive_inline(run, shard, operation, ended_well=job.ended_well)
        return
    fetch_output(client, job, target, requests=shard.requests)


def fetch_output(client: GeminiClient, job: Job, target: Location, *, requests: int = 0) -> None:
    """Bring a job's output file to a place of ours, whole. A copy of the right size is not fetched again.

    :param requests: how many lines to expect of a job that ended well and says nothing of its counts.
    """
    assert job.output_file is not None
    expected = _size(client, job.output_file)
    if target.exists() and expected in (None, target.size()):
        return
    counted = job.stats.succeeded + job.stats.failed or (requests if job.ended_well else 0)
    for _ in range(_MOST_DOWNLOADS):
        try:
            lines = _fetch(client, job.output_file, target, expected)
        except RefusedError as error:
            if error.code in (403, 404):
                raise _gone(job, error) from error
            raise
        if lines >= counted:
            return
        log.warning("%s has %d whole lines, its job counts %d. Downloading it again.", job.output_file, lines, counted)
    log.warning("%s stays short: rows without an answer go to dead_letter.", job.output_file)


def _fetch(client: GeminiClient, name: str, target: Location, expected: int | None) -> int:
    """The number of lines that arrived."""
    with target.receiving() as path:
        client.download(name, path)
        received = path.stat().st_size
        if expected is not None and received != expected:
            raise OutcomeUnknownError(f"{name} came with {received} of {expected} bytes. Nothing was kept; run the same again.")
        lines = _count_lines(path)
    log.info("Downloaded %s: %d lines, %.1f MB.", name, lines, received / 1e6)
    return lines


def _count_lines(path: Path) -> int:
    """Lines that are not empty, without looking into them; but one without an end may be torn, and then does not count."""
    lines, ended = 0, 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            lines += block.count(b"\n") - block.count(b"\n\n")
            if (at := block.rfind(b"\n")) >= 0:
                ended = file.tell() - len(block) + at + 1
        file.seek(ended)
        rest = file.read()
    return lines + (bool(rest.strip()) and not isinstance(classify(rest), Garbage))


def _input_file(run: Run, shard: Shard) -> str | None:
    """What the job was created with, as the ledger knows it."""
    with contextlib.suppress(CorruptRunError):  # no reason to fail: it expires by itself
        if (record := Ledger(run).submitted(shard.id)) is not None:
            return record.input_file
    return None


def reland(run: Run, shard: Shard) -> Landed:
    """Write a shard's parts again, as they were, from what the run holds, when they turn out to be torn. Costs nothing."""
    ledger = Ledger(run)
    job = ledger.ended(shard.id)
    if job is None and shard.requests > 0:
        raise CorruptRunError(f"{run.results_part(shard.id)} cannot be written again: the ledger does not say how its job ended.")
    ending = ending_of(job, cancelled_by_us=ledger.cancellation(shard.id) is not None)
    was = ledger.landed(shard.id)
    if was is None:
        return land(run, shard, ending)
    return land(run, shard, ending, keep_response=was.keep_response, media_to=was.media_to)


def lost_job(run: Run, shard: Shard, name: str, options: BatchOptions, *, why: ServiceError | None = None) -> Landed:
    """Give up a job that the service does not find, or whose output it does not give: its rows become retryable dead letters.

    :param why: what the service says instead of the output.
    """
    ending = Ending(
        job=name,
        reason=Reason.JOB_FAILED,
        code=404 if why is None else why.code,
        status="NOT_FOUND" if why is None else why.status,
        message=f"the service no longer finds {name}" if why is None else str(why),
        retryable=True,
    )
    return land(run, shard, ending, keep_response=options.keep_response, media_to=options.media_to)


def ending_of(job: Job | None, *, cancelled_by_us: bool = False) -> Ending:
    """What becomes of the rows that the output does not answer.

    :param cancelled_by_us: whether this package cancelled it, so that its rows may be resubmitted. Jobs cancelled by others
        stay cancelled.
    """
    if job is None:
        return Ending(job=None, reason=Reason.MISSING)
    reason = Reason.MISSING if job.ended_well else _REASONS.get(job.state, Reason.JOB_FAILED)
    return Ending(
        job=job.name,
        reason=reason,
        code=job.error_code,
        message=job.error_message or f"{job.name} ended as {job.wire_state or job.state.value} without an answer for this row",
        retryable=cancelled_by_us or is_retryable(reason, job.error_code),
        ended_at=time_of(job.end_time or job.update_time),
    )


def delete_input(client: GeminiClient, input_file: str) -> None:
    """Delete a job's input file, which counts toward the project's 20 GB of storage. Best effort."""
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


def unnamed_output(job: Job) -> NotFoundError:
    """The error of a file job that ended well and whose output the service has not named for as long as we wait."""
    ended = f" (at {job.end_time})" if job.end_time else ""
    return NotFoundError(
        f"{job.name} has ended as {job.wire_state or job.state.value}{ended} and does not name its output file, so there is "
        "nothing to collect; nothing was resubmitted. Run the same again, or clear the task, to check once more: the service "
        "keeps an output for about 48 hours. If it is certainly lost, set resubmit_lost=True: its rows are then paid once more.",
        code=404,
    )


def _gone(job: Job, error: ServiceError) -> NotFoundError:
    ended = time_of(job.end_time)
    late = f" The job ended {(dt.datetime.now(dt.timezone.utc) - ended).total_seconds() / 3600:.0f} hours ago." if ended else ""
    return NotFoundError(
        f"The output {job.output_file or '(inline)'} of {job.name} cannot be read: {error}{late} Output is kept for about 48 "
        "hours and is visible only to keys of the project that made the job: check that the connection's key is one of them. If "
        "it is certainly lost, set resubmit_lost=True: its rows are then paid once more.",
        code=error.code,
        status=error.status,
    )
