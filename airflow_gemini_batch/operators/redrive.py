"""Redriving a finished run as a task: selected dead letters go through the service again, into the same tables."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.operators._advancing import AdvancesRun
from airflow_gemini_batch.operators._arguments import check_arguments
from airflow_gemini_batch.operators._finished_run import LettersOperator
from airflow_gemini_batch.operators._lineage import HasLineage
from airflow_gemini_batch.operators.base import owner_of

if TYPE_CHECKING:
    import os

    from airflow.sdk import Context, ObjectStoragePath, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch.engine.finish.summary import Summary
    from airflow_gemini_batch.engine.gemini.client import GeminiClient
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments


class GeminiBatchRedriveOperator(HasLineage, AdvancesRun, LettersOperator):
    """Resubmit dead letters of a finished run, and write the answers into the same tables.

    The requests are sent as they were built, so schema, carried columns and keys stay, and results replace the dead letters. The
    task may be retried, cleared or killed at any time: it continues what it began, and never resubmits a row twice. A cleared
    task whose selection has changed begins another redrive. If no dead letter is selected, the task succeeds at once.

    It returns the new summary as a plain dict. While it runs, the run is not finished: ``summary.json`` is absent. Of two tasks
    that redrive one run at the same time, one is refused.

    :param destination: URI of the run, an ``ObjectStoragePath``, or the summary that ``GeminiBatchFinishOperator`` or
        ``GeminiBatchOperator`` returns (their ``.output``). (templated)
    :param reasons: Resubmit dead letters with one of these reasons, such as ``JOB_CANCELLED``, or finish reasons, such as
        ``MALFORMED_FUNCTION_CALL``. Default, if no other selection is given either: all that are retryable. (templated)
    :param keys: Resubmit dead letters with one of these keys; all of them must be dead letters. In a run with ``repeats``,
        ``key#repeat`` is one repeat. (templated)
    :param message: Resubmit dead letters whose message contains this text, whatever the case; between slashes, as in
        ``/^5\\d\\d/``, it is a regular expression (RE2). (templated)
    :param codes: Resubmit dead letters with one of these codes (HTTP status or rpc code). (templated)
    :param retryable: Resubmit dead letters that are retryable, or those that are not. (templated)
    :param limit: Resubmit no more dead letters than these, the first in the order of the shards. (templated)
    :param include_discarded: Whether dead letters that were discarded (``GeminiBatchDiscardOperator``) are resubmitted too.
        Default: False.
    :param max_cost_usd: Nothing is resubmitted if the run may then have cost more than this in all, with what has been spent.
        Default: None, no limit. (templated)
    :param options: A ``BatchOptions``, or a dict of its fields, as for ``GeminiBatchOperator``. ``keep_response`` and
        ``media_to`` are always those of the run; shard limits and ``schema_field`` are not used.
    :param deferrable: Whether to wait in the triggerer instead of in the worker slot. Default: True, whatever
        ``[operators] default_deferrable`` says.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises InputError while the DAG is parsed, for an argument that cannot be valid. When the task runs, raises
    AirflowFailException when the run is not finished or a key is not a dead letter, and otherwise what ``GeminiBatchOperator``
    raises.
    """

    template_fields: Sequence[str] = (*LettersOperator.template_fields, "max_cost_usd")
    checked: ClassVar[tuple[str, ...]] = (*LettersOperator.checked, "include_discarded", "max_cost_usd", "options", "deferrable")

    def __init__(
        self,
        *,
        destination: str | os.PathLike[str] | ObjectStoragePath | Mapping[str, Any] | XComArg,
        reasons: Collection[str] | XComArg | None = None,
        keys: Collection[str] | XComArg | None = None,
        message: str | XComArg | None = None,
        codes: Collection[int] | XComArg | None = None,
        retryable: bool | XComArg | None = None,
        limit: int | XComArg | None = None,
        include_discarded: bool = False,
        max_cost_usd: float | str | XComArg | None = None,
        options: BatchOptions | Mapping[str, Any] | None = None,
        deferrable: bool = True,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(
            destination=destination,
            reasons=reasons,
            keys=keys,
            message=message,
            codes=codes,
            retryable=retryable,
            limit=limit,
            **kwargs,
        )
        check_arguments({"include_discarded": include_discarded, "max_cost_usd": max_cost_usd, "deferrable": deferrable})
        self.include_discarded = include_discarded
        self.max_cost_usd: Any = max_cost_usd
        self.options = BatchOptions.of(options)
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.finish.summary import Summary

        deadline = time.time() + self.options.timeout.total_seconds()
        with self.one_pass(context), self.connect() as client:
            run = self.run_here
            reopened = self._reopen(run, context, client)
            if isinstance(reopened, Summary):
                return reopened.as_dict()
            summary = self.carry_through(run, client, reopened, deadline)
        return self.finished(context, summary)

    def options_of_pass(self, context: Context) -> BatchOptions:
        reopened = self._reopen(self.run_here, context, None)
        return reopened if isinstance(reopened, BatchOptions) else self.options

    def _reopen(self, run: Run, context: Context, client: GeminiClient | None) -> BatchOptions | Summary:
        from airflow_gemini_batch.engine.finish.reopening import reopen

        selection = self.selection(include_discarded=self.include_discarded)
        return reopen(run, selection, self.options, token=owner_of(context), client=client, max_cost_usd=self.limit_usd)
