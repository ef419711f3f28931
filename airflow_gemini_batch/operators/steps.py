"""A run in five steps, for mapping: one task instance for each shard, and each step can be repeated on its own.

    build -> [shard] -> submit -> wait -> download -> finish (-> redrive)

Mapped step by step, no shard is downloaded before all jobs have ended. In a mapped task group the shards are independent:

    @task_group
    def one_shard(shard):
        job = GeminiBatchSubmitOperator(task_id="submit", shard=shard)
        done = GeminiBatchSensor(task_id="wait", job=job.output)
        GeminiBatchDownloadOperator(task_id="download", job=done.output)

    one_shard.expand(shard=built.output) >> GeminiBatchFinishOperator(task_id="finish", destination=...)

A reference (``_references``) goes from task to task: plain JSON, never data. A shard without requests has no job and passes
through all steps. All steps, the sensor and ``GeminiBatchOperator`` take the same ``options``; each uses the fields that it
needs, so ``default_args={"options": ...}`` sets them for the whole DAG.

The steps resubmit nothing: they collect whatever a job has left. A redrive after the finish resubmits dead letters into the same
tables:

    GeminiBatchRedriveOperator(task_id="redrive", destination=finish.output)
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from airflow_gemini_batch._references import (
    JobReference,
    PartReference,
    ShardReference,
    as_json,
    part_of,
    read_reference,
    run_of,
    shard_references,
)
from airflow_gemini_batch.engine.errors import InputError, OutcomeUnknownError, QuotaError, RefusedError, WaitTimeoutError
from airflow_gemini_batch.engine.gemini.waits import wait_after
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.wait.waiting import is_settled
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators._arguments import check_arguments
from airflow_gemini_batch.operators._lineage import HasLineage
from airflow_gemini_batch.operators._outcome import announce
from airflow_gemini_batch.operators._table import TableOperator
from airflow_gemini_batch.operators.base import GeminiOperator, ShardStep, label_of, owner_of

if TYPE_CHECKING:
    import os

    from airflow.sdk import Context, ObjectStoragePath, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch._references import JobReferenceDict, PartReferenceDict, ShardReferenceDict
    from airflow_gemini_batch.engine.run.layout import Run, Shard
    from airflow_gemini_batch.operators._airflow_arguments import FinishArguments, GeminiOperatorArguments


class GeminiBatchBuildOperator(TableOperator):
    """Turn a table into request files, and return one reference for each shard, to be mapped over.

    Nothing is paid: the service is only asked whether it has the model. A table without rows makes one shard without requests,
    which passes through all steps. Airflow maps over at most 1,024 shards (``[core] max_map_length``).

    :param source: The input table: a URI of Parquet, CSV or JSON Lines (file, folder or glob) or a list of them, an
        ``ObjectStoragePath``, a list of dicts, a pandas DataFrame or an Arrow table. Pass the last two as an upstream task's
        ``.output``. (URIs are templated; row data never is.)
    :param request: The request for each row: a ``GenerateRequest`` (its ``prompt`` and ``system_instruction`` are templated), an
        ``EmbedRequest`` (its ``text`` is templated), a ``RawRequest``, or a function that takes the row as a dict and returns a
        REST request as a dict. An upstream task may return any of the first three, or its plain form
        (``{"type": "generate", "prompt": …}``); nothing is rendered in it.
    :param model: The model's name. (templated)
    :param destination: URI of the folder that receives the run, or an ``ObjectStoragePath``. (templated)
    :param key: The column that identifies a row, unique in the table. Default: None, the row's number. (templated)
    :param carry: Names of input columns that are copied into both tables. Default: none. (templated)
    :param dedupe: Whether rows with equal requests share one: the first pays, the others get its answer and name it in
        ``paid_by``. Default: True; False asks the model once for every row.
    :param reuse: URI of a finished run, or of a folder of runs, or a list of them. Rows whose request one of these runs has
        answered take that result, with ``reused_from``, and are not paid for. Default: None. (templated)
    :param labels: Who or what the run is for, such as ``{"team": "search"}``: kept in the summary, and added up by
        ``gemini-batch costs``. Default: none. (templated)
    :param sample: How many rows to draw from the table; the run consists of these only. ``GeminiBatchEstimateOperator`` says
        from it what the whole table costs (``trial``). 50 is a good number, 200 if the model thinks. The source is read twice.
        Default: None, the whole table.
    :param repeats: How often each row is sent, for evaluations. Both tables then have the column ``repeat``, counted from 0; key
        and repeat together are unique, and no rows share a request. Default: 1, without that column.
    :param max_cost_usd: Nothing is sent that may cost more than this, with what has been spent: compared is the high end, by
        bytes and ``max_output_tokens``, before the first job and each resubmission. Default: None, no limit. (templated)
    :param if_exists: ``resume`` the run at the destination if it has the same arguments and fail otherwise (default), or
        ``replace`` it.
    :param options: A ``BatchOptions``, or a dict of its fields. This step uses ``max_shard_bytes``, ``max_shard_requests``
        and ``schema_field``.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises InputError while the DAG is parsed, and AirflowFailException when the source, the request, the destination or the
    connection cannot be used.
    """

    operator_extra_links = (GeminiBatchRunLink(),)

    def execute(self, context: Context) -> list[ShardReferenceDict]:
        from airflow_gemini_batch.engine.build.building import build_run

        # The client is made first, so that a missing connection is reported before the table is read.
        with self.one_pass(context), self.connect() as client:
            run = self.run_here
            manifest = build_run(
                run, self.question, self.options, if_exists=self.if_exists, owner=owner_of(context), client=client
            )
        return shard_references(run, manifest)


class GeminiBatchSubmitOperator(GeminiOperator):
    """Make sure that a shard has exactly one job, and return the job's reference.

    Repeated, it finds the job that an earlier try created. A submission that the service refuses for quota (429), or that
    would exceed ``max_active_jobs`` or a limit of the connection, is tried again at growing intervals; the task waits for that
    in the triggerer. If the task is killed it stops and cancels nothing: the next try finds a job that it may have created.

    :param shard: A shard reference, from ``GeminiBatchBuildOperator``. (templated)
    :param options: A ``BatchOptions``, or a dict of its fields. This step uses ``transport``, ``max_active_jobs``,
        ``listing_lag``, ``claim_lease``, and ``timeout`` as the time for which it keeps trying when refused.
    :param deferrable: Whether to wait in the triggerer instead of in the worker slot. Default: True, whatever
        ``[operators] default_deferrable`` says: a quota may stay used up for hours.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises InputError while the DAG is parsed, and AirflowFailException for a definite refusal, such as an unknown model or a
    wrong key. If the service does not answer, raises OutcomeUnknownError; the retry searches for the job before it creates one.
    """

    template_fields: Sequence[str] = ("shard", "options", *GeminiOperator.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)
    checked: ClassVar[tuple[str, ...]] = ("options", "deferrable")

    def __init__(
        self,
        *,
        shard: ShardReferenceDict | XComArg,
        options: BatchOptions | Mapping[str, Any] | None = None,
        deferrable: bool = True,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_arguments({"deferrable": deferrable})
        self.shard: Any = shard
        self.options = BatchOptions.of(options)
        self.deferrable = deferrable

    @property
    def map_label(self) -> str:
        return label_of(self.shard)

    def execute(self, context: Context) -> JobReferenceDict:
        with self.one_pass(context):
            return self._submit(time.time() + self.options.timeout.total_seconds(), refusals=0)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> JobReferenceDict:
        """Try again after a refusal.

        :param event: The event of ``GeminiBatchTrigger``.
        """
        with self.one_pass(context):
            if event["why"] == "error":
                raise RefusedError(event["message"])
            return self._submit(event["deadline"], event["refusals"])

    def _submit(self, deadline: float, refusals: int) -> JobReferenceDict:
        from airflow_gemini_batch.engine.submit.submission import Submission

        reference = read_reference(self.shard, ShardReference, argument="shard")
        run, shard = shard_of(reference)
        if shard.requests == 0:
            return _with_job(reference, None)
        with self.connect() as client:
            submission = Submission(run, run.built(), client, self.options)
            while True:
                try:
                    record = submission.submit(shard)
                    return _with_job(reference, None if record is None else record.job)
                except QuotaError as error:
                    refusals += 1
                    self._after_refusal(error, deadline, refusals)

    def _after_refusal(self, error: QuotaError, deadline: float, refusals: int) -> None:
        wait = wait_after(error, refusals, jitter=random.random())
        now = time.time()
        if now + wait > deadline:
            raise WaitTimeoutError(f"{error} Refused {refusals} times; the timeout passes before the next try.")
        self.log.warning("%s Trying again in %.0f s.", error, wait)
        if not self.deferrable:
            time.sleep(wait)
            return
        self.wait_in_triggerer(jobs=(), poll_interval=wait, deadline=deadline, wake_at=now + wait, refusals=refusals)


class GeminiBatchDownloadOperator(ShardStep):
    """Download an ended job's output into the run and write the shard's part of ``results`` and ``dead_letter``.

    Returns the row counts and the parts' URIs. Work that is finished already is found and not repeated. A job that failed,
    expired or was cancelled is collected too: the answers that it has become results, all other rows dead letters. Nothing is
    resubmitted here (see the module).

    :param job: A job reference, from ``GeminiBatchSensor``. (templated)
    :param options: A ``BatchOptions``, or a dict of its fields. This step uses ``keep_response`` and ``media_to``.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises InputError while the DAG is parsed; AirflowFailException when the output no longer exists; OutcomeUnknownError, which
    Airflow may retry, when the job has not ended.
    """

    template_fields: Sequence[str] = ("job", "options", *GeminiOperator.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)
    checked: ClassVar[tuple[str, ...]] = ("options",)

    def __init__(
        self,
        *,
        job: JobReferenceDict | XComArg,
        options: BatchOptions | Mapping[str, Any] | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.job: Any = job
        self.options = BatchOptions.of(options)

    def execute(self, context: Context) -> PartReferenceDict:
        from airflow_gemini_batch.engine.collect.download import collect
        from airflow_gemini_batch.engine.run.ledger import Ledger
        from airflow_gemini_batch.engine.wait.in_flight import current_job

        with self.one_pass(context), self.connect() as client:
            reference = read_reference(self.job, JobReference, argument="job")
            run, shard = shard_of(reference)
            counts = Ledger(run).landed(shard.id)
            if counts is None:
                job = None if reference.job is None else current_job(run, client, shard.id, reference.job)
                if job is not None and not is_settled(job):
                    raise OutcomeUnknownError(f"There is nothing to download yet: {job}. Wait for it with GeminiBatchSensor.")
                counts = collect(run, client, shard, job, self.options)
        part: PartReferenceDict = as_json(
            PartReference(
                **msgspec.structs.asdict(reference),
                results=counts.results,
                dead_letter=counts.dead_letter,
                reasons=dict(counts.reasons),
                results_uri=run.results_part(shard.id).uri,
                dead_letter_uri=run.dead_letter_part(shard.id).uri,
            )
        )
        return part


class GeminiBatchFinishOperator(HasLineage, GeminiOperator):
    """Check that every row is in exactly one table, write ``summary.json`` and return it as a plain dict.

    It runs when all steps before it have ended, successfully or not, and fails if a shard is missing. Then repeat that shard's
    tasks, and this one.

    :param destination: URI of the run, as given to ``GeminiBatchBuildOperator``. (templated)
    :param options: A ``BatchOptions``, or a dict of its fields. This step uses ``max_dead_letter_ratio``.
    :param trigger_rule: Airflow's. Default here: ``all_done``, so that it can name the missing shards.

    Raises InputError while the DAG is parsed, and AirflowFailException when a shard is missing, the tables do not balance, or
    there are more dead letters than the options allow.
    """

    template_fields: Sequence[str] = ("destination", "options", *GeminiOperator.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)
    checked: ClassVar[tuple[str, ...]] = ("destination", "options")

    def __init__(
        self,
        *,
        destination: str | os.PathLike[str] | ObjectStoragePath | XComArg,
        options: BatchOptions | Mapping[str, Any] | None = None,
        trigger_rule: str = "all_done",
        **kwargs: Unpack[FinishArguments],
    ) -> None:
        super().__init__(trigger_rule=trigger_rule, **kwargs)
        check_arguments({"destination": destination})
        self.destination = destination
        self.options = BatchOptions.of(options)

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.finish.summary import finish_run
        from airflow_gemini_batch.engine.report.summary_page import write_summary_page

        with self.one_pass(context):
            ratio = self.options.max_dead_letter_ratio
            summary = finish_run(self.run_here, max_dead_letter_ratio=ratio, draw=write_summary_page).as_dict()
        announce(context, self.outlets, summary, self.run_here)
        return summary


def shard_of(reference: ShardReference) -> tuple[Run, Shard]:
    """The run that a reference points into, and its shard. Raises InputError when the run has no such shard."""
    from airflow_gemini_batch.engine.run.ledger import Ledger

    run, wanted = run_of(reference), part_of(reference)
    shard = Ledger(run).shard(run.built(), wanted)
    if shard is None:
        raise InputError(
            f"{run.destination} has no shard {wanted}: the reference belongs to a run that has been replaced. "
            "Clear the build task too."
        )
    return run, shard


def _with_job(shard: ShardReference, job: str | None) -> JobReferenceDict:
    reference: JobReferenceDict = as_json(JobReference(**msgspec.structs.asdict(shard), job=job))
    return reference
