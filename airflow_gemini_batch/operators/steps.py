"""The trip in steps, for mapping: one task instance for each shard, and each step repeatable on its own.

    build -> [shard] -> submit -> wait -> download -> finish

Mapped step by step, no shard is downloaded before all have ended. Inside a mapped task group each shard goes its own way:

    @task_group
    def trip(shard):
        job = GeminiBatchSubmitOperator(task_id="submit", shard=shard)
        done = GeminiBatchSensor(task_id="wait", job=job.output)
        GeminiBatchDownloadOperator(task_id="download", job=done.output)

    trip.expand(shard=built.output) >> GeminiBatchFinishOperator(task_id="finish", destination=...)

What goes from task to task is a reference (``_references``): plain JSON, never data. A shard without requests has no job and
passes through all steps.

The steps send nothing twice: each lands what its job has left, whatever became of it. What died retryably is sent again by the
form of one operator, which finds the rows by itself: ``GeminiBatchOperator`` at the same destination with the same arguments
(before the finish), or, at a new one, from the table alone:

    GeminiBatchOperator(
        task_id="again", source=f"{destination}/dead_letter", request=RawRequest("request"), key="key", model=..., destination=...
    )
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airflow_gemini_batch._references import JobReference, PartReference, ShardReference, as_json, part_of, read_reference, run_of
from airflow_gemini_batch.engine.errors import InputError, OutcomeUnknownError, QuotaError, RefusedError, WaitTimeoutError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.wait.waiting import is_settled, quota_wait
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators.base import DEFAULT_TIMEOUT, AskingOperator, GeminiOperator, ShardStep, owner_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_gemini_batch.engine.run.layout import Run, Shard


class GeminiBatchBuildOperator(AskingOperator):
    """Turn a table into request files, and return one reference for each shard, to be mapped over.

    Nothing is sent and nothing is paid. A table without rows makes one shard without requests, which passes through all steps.

    :param source: The input table: a URI of Parquet, CSV or JSON Lines (file, folder, glob) or a list of them, an
        ``ObjectStoragePath``, a pandas DataFrame or an Arrow table. (templated)
    :param request: What to ask for each row: a ``GenerateRequest`` (its ``prompt`` and ``system_instruction`` are templated), an
        ``EmbedRequest`` (its ``text`` is templated), a ``RawRequest``, or a function that makes a REST request of a row given as
        dict.
    :param model: The model's name. (templated)
    :param destination: URI of the folder that receives the run. (templated)
    :param key: The column that tells rows apart. Default: the row's number. (templated)
    :param carry: Input columns repeated in both tables. Default: none.
    :param max_shard_bytes: Size of one request file at most. Default: somewhat under the service's limit of 2 GB.
    :param max_shard_requests: Requests in one job at most. Default: the engine's. Airflow maps over 1,024 shards at most
        (``[core] max_map_length``).
    :param if_exists: ``resume`` the run at the destination when it is the same (default), or ``replace`` it.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException when the source, the request, the destination or the connection cannot be used.
    """

    operator_extra_links = (GeminiBatchRunLink(),)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        from airflow_gemini_batch.engine.build.building import build_run

        # A missing connection is told now, and not after the table has been read.
        with self.one_pass(), self.connect() as client:
            run = self.run_here
            manifest = build_run(
                run, self.question, self.shard_options, if_exists=self.if_exists, owner=owner_of(context), client=client
            )
        return [
            as_json(
                ShardReference(
                    destination=run.destination.uri,
                    shard=shard.number,
                    attempt=shard.attempt,
                    rows=shard.rows,
                    requests=shard.requests,
                )
            )
            for shard in manifest.shards
        ]


class GeminiBatchSubmitOperator(GeminiOperator):
    """Make sure that a shard has its one job, and return the job's reference.

    Repeated, it finds the job that an earlier try created. A submission that the service refuses for quota (429), or for which
    there is no room, is tried again at growing distances; the wait is spent in the triggerer. Killed, it stops and cancels
    nothing: a job that it may have created is found by the next try.

    :param shard: A shard reference, from ``GeminiBatchBuildOperator``. (templated)
    :param max_active_jobs: Jobs of the run in flight at once, over all tasks that submit for it. Default: None, no limit but the
        service's own.
    :param transport: How requests reach the service: by ``file`` (default), ``inline`` in the create call, or ``auto``: inline
        where a shard is small.
    :param timeout: How long to go on when the service refuses for quota, or there is no room. Default: 48 hours.
    :param deferrable: Whether to wait in the triggerer (default) or in the worker slot.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException for a definite refusal, such as an unknown model or a wrong key; what ends without an answer
    raises OutcomeUnknownError, and the retry looks for the job before it creates one.
    """

    template_fields: Sequence[str] = ("shard", *GeminiOperator.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)

    def __init__(
        self,
        *,
        shard: dict[str, Any],
        max_active_jobs: int | None = None,
        transport: Literal["file", "inline", "auto"] = "file",
        timeout: timedelta = DEFAULT_TIMEOUT,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if max_active_jobs is not None and max_active_jobs < 1:
            raise ValueError(f"max_active_jobs is {max_active_jobs}; expected 1 or more, or None for no limit.")
        self.shard = shard
        self.max_active_jobs = max_active_jobs
        self.transport = transport
        self.timeout = timeout
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        with self.one_pass():
            return self._submit(time.time() + self.timeout.total_seconds(), refusals=0)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Try again after a refusal.

        :param event: The trigger's.
        """
        with self.one_pass():
            if event["why"] == "error":
                raise RefusedError(event["message"])
            return self._submit(event["deadline"], event["refusals"])

    def _submit(self, deadline: float, refusals: int) -> dict[str, Any]:
        from airflow_gemini_batch.engine.submit.submission import Submission

        reference = read_reference(self.shard, ShardReference, argument="shard")
        run, shard = shard_of(reference)
        if shard.requests == 0:
            return as_json(_with_job(reference, None))
        with self.connect() as client:
            options = BatchOptions(max_active_jobs=self.max_active_jobs, transport=self.transport)
            submission = Submission(run, run.built(), client, options)
            while True:
                try:
                    submitted = submission.submit(shard)
                    return as_json(_with_job(reference, submitted.job))
                except QuotaError as error:
                    refusals += 1
                    self._after_refusal(error, deadline, refusals)

    def _after_refusal(self, error: QuotaError, deadline: float, refusals: int) -> None:
        wait = quota_wait(refusals, error.retry_after, jitter=random.random())
        now = time.time()
        if now + wait > deadline:
            raise WaitTimeoutError(f"{error} It was refused {refusals} times, and the timeout passes before the next try.")
        self.log.warning("%s Trying again in %.0f s.", error, wait)
        if not self.deferrable:
            time.sleep(wait)
            return
        self.wait_in_triggerer(jobs=(), poll_interval=wait, deadline=deadline, wake_at=now + wait, refusals=refusals)


class GeminiBatchDownloadOperator(ShardStep):
    """Bring a settled job's output into the run and write the shard's part of ``results`` and ``dead_letter``.

    Returns the counts and the parts' URIs. Finished work is found and not repeated. Of a job that failed, expired or was
    cancelled, what there is lands: its answers as results, the rest as dead letters, which are not sent again here (see the
    module).

    :param job: A job reference, from ``GeminiBatchSensor``. (templated)
    :param keep_response: Whether ``results`` keeps each raw answer. Default: True.
    :param media_to: Where images in answers go: into the ``media`` ``column`` (default), or into ``files`` beside the tables.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises AirflowFailException when the output is gone; OutcomeUnknownError, to be retried, when the job has not ended.
    """

    template_fields: Sequence[str] = ("job", *GeminiOperator.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)

    def __init__(
        self,
        *,
        job: dict[str, Any],
        keep_response: bool = True,
        media_to: Literal["column", "files"] = "column",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.keep_response = keep_response
        self.media_to = media_to

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.collect.download import collect, landed
        from airflow_gemini_batch.engine.wait.in_flight import look_at

        with self.one_pass(), self.connect() as client:
            reference = read_reference(self.job, JobReference, argument="job")
            run, shard = shard_of(reference)
            counts = landed(run, shard)
            if counts is None:
                job = None if reference.job is None else look_at(run, client, shard.id, reference.job)
                if job is not None and not is_settled(job):
                    raise OutcomeUnknownError(f"There is nothing to download yet: {job}. Wait for it with GeminiBatchSensor.")
                counts = collect(run, client, shard, job, keep_response=self.keep_response, media_to=self.media_to)
        return as_json(
            PartReference(
                **msgspec.structs.asdict(reference),
                results=counts.results,
                dead_letter=counts.dead_letter,
                reasons=dict(counts.reasons),
                results_uri=run.results_part(shard.id).uri,
                dead_letter_uri=run.dead_letter_part(shard.id).uri,
            )
        )


class GeminiBatchFinishOperator(GeminiOperator):
    """Balance the books of a run, write ``summary.json`` and return it as a plain dict.

    It runs when all steps before it have ended, well or not, and fails when a shard is missing: repeat that shard's tasks, then
    this one.

    :param destination: URI of the run, as given to ``GeminiBatchBuildOperator``. (templated)
    :param max_dead_letter_ratio: From 0 to 1; above it the task fails, after everything has been written. Default: 1.0, never.
    :param trigger_rule: Default here: ``all_done``.

    Raises AirflowFailException when a shard is missing, the tables do not balance, or too many rows died.
    """

    template_fields: Sequence[str] = ("destination", *GeminiOperator.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)

    def __init__(
        self, *, destination: Any, max_dead_letter_ratio: float = 1.0, trigger_rule: str = "all_done", **kwargs: Any
    ) -> None:
        super().__init__(trigger_rule=trigger_rule, **kwargs)
        self.destination = destination
        self.max_dead_letter_ratio = max_dead_letter_ratio

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch._locations import locate
        from airflow_gemini_batch.engine.finish.summary import finish_run
        from airflow_gemini_batch.engine.run.layout import Run

        with self.one_pass():
            return finish_run(Run(locate(self.destination)), max_dead_letter_ratio=self.max_dead_letter_ratio).as_dict()


def shard_of(reference: ShardReference) -> tuple[Run, Shard]:
    """The run that a reference points into, and its shard. Raises InputError when the run has no such shard."""
    from airflow_gemini_batch.engine.run.ledger import Ledger

    run, wanted = run_of(reference), part_of(reference)
    # The ledger's shards are those of the manifest and those that are sent again.
    shard = next((shard for shard in Ledger(run).shards(run.built()) if shard.id == wanted), None)
    if shard is None:
        raise InputError(
            f"{run.destination} has no shard {wanted}: the reference is of a run that was replaced. Clear the build task too."
        )
    return run, shard


def _with_job(shard: ShardReference, job: str | None) -> JobReference:
    return JobReference(
        destination=shard.destination,
        shard=shard.shard,
        attempt=shard.attempt,
        rows=shard.rows,
        requests=shard.requests,
        job=job,
    )
