"""A whole run as one task: a table goes in, two tables come out, and the worker slot is free while the jobs run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.specs import RequestSpec
from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators._advancing import AdvancesRun
from airflow_gemini_batch.operators._arguments import check_arguments
from airflow_gemini_batch.operators._lineage import HasLineage
from airflow_gemini_batch.operators._table import TableOperator
from airflow_gemini_batch.operators.base import owner_of

if TYPE_CHECKING:
    import os

    from airflow.sdk import Context, ObjectStoragePath, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments


class GeminiBatchOperator(HasLineage, AdvancesRun, TableOperator):
    """Send a table through the Gemini Batch API and write ``results`` and ``dead_letter`` at the destination.

    The task may be retried, cleared or killed at any time. It resumes where it stopped, and no request is paid for twice. It
    returns the summary as a plain dict.

    :param source: The input table: a URI of Parquet, CSV or JSON Lines (file, folder or glob) or a list of them, an
        ``ObjectStoragePath``, a list of dicts, a pandas DataFrame or an Arrow table. Pass the last two as an upstream task's
        ``.output``. (URIs are templated; row data never is.)
    :param request: The request for each row: a ``GenerateRequest`` (its ``prompt`` and ``system_instruction`` are templated), an
        ``EmbedRequest`` (its ``text`` is templated), a ``RawRequest``, or a function that takes the row as a dict and returns a
        REST request as a dict. An upstream task may return any of the first three, or its plain form
        (``{"type": "generate", "prompt": …}``); nothing is rendered in it.
    :param model: The model's name, such as ``gemini-3.6-flash``. (templated)
    :param destination: URI of the folder that receives the run, or an ``ObjectStoragePath``. It must be the same for all tries
        of one task instance, and different for each DAG run. (templated)
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
    :param if_exists: What to do when the destination already holds a run: ``resume`` it if it has the same arguments and fail
        otherwise (default), or ``replace`` it. A run that this task instance began itself is always resumed.
    :param options: How the run is carried out: shard sizes, jobs in flight, polling and timeouts, redrives, output. A
        ``BatchOptions``, or a dict of its fields; docs/options.md lists them. Default: None, all defaults.
    :param deferrable: Whether to wait in the triggerer instead of in the worker slot. Default: True, whatever
        ``[operators] default_deferrable`` says: jobs take hours, and that setting is False unless it was changed.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    A cleared task keeps its jobs, and its next try waits for them. A task that is marked as failed, success or skipped cancels
    them (``options.cancel_on_kill``); while it is deferred, this needs Airflow 3.3.

    Raises InputError while the DAG is parsed, for an argument that cannot be valid. When the task runs, raises
    AirflowFailException, which ends the task without retries, for what a retry cannot change: unusable input or destination, a
    wrong key, a refused request, the timeout, too many dead letters. An outage before the first wait raises an error that Airflow
    may retry; after a later outage the task checks again.
    """

    operator_extra_links = (GeminiBatchRunLink(),)
    checked: ClassVar[tuple[str, ...]] = (*TableOperator.checked, "deferrable")

    def __init__(
        self,
        *,
        source: Any,
        request: RequestSpec | Mapping[str, Any] | XComArg,
        model: str | XComArg,
        destination: str | os.PathLike[str] | ObjectStoragePath | XComArg,
        key: str | XComArg | None = None,
        carry: Sequence[str] = (),
        dedupe: bool = True,
        reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | XComArg | None = None,
        labels: Mapping[str, str] | XComArg | None = None,
        sample: int | None = None,
        repeats: int = 1,
        max_cost_usd: float | str | XComArg | None = None,
        if_exists: Literal["resume", "replace"] = "resume",
        options: BatchOptions | Mapping[str, Any] | None = None,
        deferrable: bool = True,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(
            source=source,
            request=request,
            model=model,
            destination=destination,
            key=key,
            carry=carry,
            dedupe=dedupe,
            reuse=reuse,
            labels=labels,
            sample=sample,
            repeats=repeats,
            max_cost_usd=max_cost_usd,
            if_exists=if_exists,
            options=options,
            **kwargs,
        )
        check_arguments({"deferrable": deferrable})
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.build.building import build_run

        deadline = time.time() + self.options.timeout.total_seconds()
        with self.one_pass(context), self.connect() as client:
            run = self.run_here
            build_run(run, self.question, self.options, if_exists=self.if_exists, owner=owner_of(context), client=client)
            summary = self.carry_through(run, client, self.options, deadline)
        return self.finished(context, summary)
