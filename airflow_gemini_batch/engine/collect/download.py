"""A settled job's output becomes the shard's part of the two tables.

The output file is kept in the run, byte for byte, before anything is read from it: the service keeps it for about two days
only, and every later step can be repeated from our copy.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.collect.output_check import doubt
from airflow_gemini_batch.engine.errors import CorruptRunError, NotFoundError, OutcomeUnknownError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, time_of
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.reasons import Reason, is_retryable
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.run.ledger import Landed, Ledger
from airflow_gemini_batch.engine.run.shard_inputs import Inputs, open_inputs
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.submit.inline import inline_answers

log = logging.getLogger(__name__)

#: Seconds after which an inline job that has succeeded is believed to have no answers. It is asked about once a minute meanwhile,
#: because answers may come later than the state; such delays were of one or two minutes.
_NONE_BELIEVED_AFTER = 900.0

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
    refused: Mapping[str, str] | None = None,
    downloaded: Callable[[], DownloadedShard] | None = None,
) -> Landed:
    """Download a settled job's output and write the shard's parts of both tables. Finished work is found and not repeated.

    :param job: None for a shard without a request, which has no job.
    :param options: ``keep_response`` and ``media_to`` say what the parts hold; with ``resubmit_lost``, the rows of an output that
        the service no longer has become retryable dead letters.
    :param refused: the rows that the service refused to take, with its words. Default: read from the ledger.
    :param downloaded: returns what ``download_shard`` has returned, or raises its error. Default: it is called here.

    Returns the counts. Raises NotFoundError when the output is gone, OutcomeUnknownError when the service does not give it yet,
    CorruptRunError when files of the run are absent or were changed.
    """
    ledger = Ledger(run)
    landed = ledger.landed(shard.id)
    if landed is not None:
        return landed
    ready = downloaded() if downloaded else download_shard(run, client, shard, job, options, refused=refused)
    with ready.files:
        counts = land(
            run,
            shard,
            ending_of(job, cancelled_by_us=ready.cancelled_by_us),
            keep_response=options.keep_response,
            media_to=options.media_to,
            manifest=manifest,
            inputs=ready.inputs,
            refused=ready.refused,
        )
    log.log(
        logging.WARNING if counts.dead_letter and not counts.results else logging.INFO,
        "Shard %s: %d results, %d dead letters%s.", shard.id, counts.results, counts.dead_letter, f" from {job}" if job else "",
    )  # fmt: skip
    if job is not None and (input_file := job.input_file or _input_file(run, shard)) is not None:
        delete_input(client, input_file)
    return counts


@dataclass(frozen=True, slots=True)
class DownloadedShard:
    """A shard whose output is in the run, with what was read for the download and is needed to land it.

    :param inputs: None where they are torn.
    :param refused: the rows that the service refused to take, with its words.
    :param files: closes the inputs.
    """

    inputs: Inputs | None
    refused: Mapping[str, str]
    cancelled_by_us: bool
    files: contextlib.ExitStack

    def close(self) -> None:
        self.files.close()


def download_shard(
    run: Run,
    client: GeminiClient,
    shard: Shard,
    job: Job | None,
    options: BatchOptions,
    *,
    refused: Mapping[str, str] | None = None,
) -> DownloadedShard:
    """The first half of ``collect``: download a settled job's output into the run. May run in a thread, and be repeated.

    Parameters and errors are those of ``collect``.
    """
    ledger = Ledger(run)
    refused = ledger.refused(shard.id) if refused is None else refused
    with contextlib.ExitStack() as stack:
        inputs = _inputs_if_readable(run, shard, stack)
        cancelled_by_us = False
        if job is not None:
            ended_at = ledger.record_end(shard.id, job)
            cancelled_by_us = ledger.cancellation(shard.id) is not None
            sent = msgspec.structs.replace(shard, requests=shard.requests - len(refused))
            _bring_output(run, client, sent, job, inputs, resubmit_lost=options.resubmit_lost, ended_at=ended_at)
        return DownloadedShard(inputs, refused, cancelled_by_us, stack.pop_all())


def _inputs_if_readable(run: Run, shard: Shard, stack: contextlib.ExitStack) -> Inputs | None:
    """None for torn inputs: landing will say so, once the output is safe."""
    try:
        return stack.enter_context(open_inputs(run, shard))
    except CorruptRunError:
        return None


def _bring_output(
    run: Run,
    client: GeminiClient,
    shard: Shard,
    job: Job,
    inputs: Inputs | None,
    *,
    resubmit_lost: bool,
    ended_at: float,
) -> None:
    # An inline job that ended badly may hold answers all the same, which no listing shows.
    if job.output_file is None and not job.ended_well and job.input_file is not None:
        return
    try:
        keys = None if inputs is None else inputs.numbers
        download(run, client, shard, job, keys=keys, believe_none=time.time() - ended_at >= _NONE_BELIEVED_AFTER)
    except NotFoundError as error:
        if (job.ended_well or job.output_file is not None) and not resubmit_lost:
            raise
        log.warning("%s Its rows count as unanswered.", error)


def download(
    run: Run,
    client: GeminiClient,
    shard: Shard,
    job: Job,
    *,
    keys: Collection[str] | None = None,
    accept_partial: bool = False,
    believe_none: bool = False,
) -> None:
    """Bring the job's output into the run, whole. A copy that has been kept is not fetched again.

    :param keys: the keys that were sent. Default: not known, any key is one of them.
    :param accept_partial: keep what the service gives, although rows lack that the job has counted.
    :param believe_none: believe an inline job that it has no answers. Otherwise they are awaited.

    Raises OutcomeUnknownError when the service does not give it yet, or gives something else.
    """
    target = run.responses_file(shard.id)
    expected = 0 if accept_partial else _answers_expected(job, shard.requests)
    if job.output_file is not None:
        fetch_output(client, job, target, expected=expected, keys=keys)
    elif not target.exists():
        try:
            operation = client.get_operation(job.name)
        except NotFoundError as error:
            raise _gone(job, error) from error
        answers = inline_answers(operation, job.name, ended_well=job.ended_well, believe_none=believe_none)
        if not answers and job.ended_well:
            log.warning("%s has succeeded without a single answer, and still has none after a while.", job.name)
        if answers:
            with target.receiving() as path:
                path.write_bytes(b"".join(answer + b"\n" for answer in answers))
                _require_output(path, f"The answers of {job.name}", size=path.stat().st_size, expected=expected, keys=keys)


def fetch_output(
    client: GeminiClient, job: Job, target: Location, *, expected: int | None = None, keys: Collection[str] | None = None
) -> None:
    """Bring a job's output file to a place of ours, whole. A copy of the right size is not fetched again.

    :param expected: rows that the output must answer where the service does not give its size. Default: by the job's counts.
    :param keys: the keys that were sent. Default: not known, any key is one of them.

    Raises OutcomeUnknownError when something else arrives, a login page for example; nothing is kept of it.
    """
    assert job.output_file is not None
    described = _described(client, job.output_file)
    size = None if described is None else described.size
    if target.exists() and size in (None, target.size()):
        return
    expected = _answers_expected(job, 0) if expected is None else expected
    arrived: str | None = None
    for last in (False, True):
        try:
            with target.receiving() as path:
                before, arrived = arrived, client.download(job.output_file, path)
                _require_output(path, job.output_file, size=size, expected=expected, keys=keys)
                _require_digest(described, arrived, before)
                log.info("Downloaded %s: %.1f MB.", job.output_file, path.stat().st_size / 1e6)
            return
        except RefusedError as error:
            if error.code in (403, 404):
                raise _gone(job, error) from error
            raise
        except OutcomeUnknownError as error:
            if last:
                raise
            log.warning("%s Downloading it again.", error)


def _require_output(body: Path, what: str, *, size: int | None, expected: int, keys: Collection[str] | None) -> None:
    if (why := doubt(body, size=size, expected=expected, keys=keys)) is not None:
        raise OutcomeUnknownError(f"{what} {why}. Nothing of it was kept, and nothing is resubmitted because of it.")


def _require_digest(described: RemoteFile | None, arrived: str, before: str | None) -> None:
    """Compare what arrived with the digest that the service states. Two equal downloads are believed rather than that digest.

    :param before: the digest of an earlier download.
    """
    if described is None or described.sha256 in (None, arrived):
        return
    what = f"{described.name} arrived with sha256 {arrived}, but the service says {described.sha256}."
    if arrived != before:
        raise OutcomeUnknownError(what)
    log.warning("%s It arrived twice like this, so it is kept.", what)


def _answers_expected(job: Job, requests: int) -> int:
    """How many rows the output answers by the job's own counts; if it has none, all of a job that ended well."""
    counted = job.stats.succeeded + job.stats.failed or (requests if job.ended_well else 0)
    return min(counted, requests) if requests else counted


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
        message=job.explanation or f"{job.name} ended as {job.wire_state or job.state.value} without an answer for this row",
        retryable=cancelled_by_us or is_retryable(reason, job.error_code),
        ended_at=time_of(job.end_time or job.update_time),
        created_at=time_of(job.create_time),
    )


def delete_input(client: GeminiClient, input_file: str) -> None:
    """Delete a job's input file, which counts toward the project's 20 GB of storage. Best effort."""
    try:
        client.delete_file(input_file)
    except ServiceError as error:
        log.warning("%s It will expire by itself, 48 hours after its upload.", error)


def _described(client: GeminiClient, name: str) -> RemoteFile | None:
    """None where the service does not say: it has refused to describe its own output files, whose ids are too long for it."""
    try:
        return client.get_file(name)
    except RefusedError:
        return None


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
