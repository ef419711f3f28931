"""Discarding dead letters of a finished run as a task: somebody has decided that they are not sent again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch.operators._finished_run import LettersOperator
from airflow_gemini_batch.operators.base import owner_of

if TYPE_CHECKING:
    import os

    from airflow.sdk import Context, ObjectStoragePath, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments


class GeminiBatchDiscardOperator(LettersOperator):
    """Decide that dead letters of a finished run are not sent again.

    Nothing is deleted and both tables stay as they are. The decision is written to the run's ledger, and
    ``GeminiBatchRedriveOperator`` leaves these letters out from then on, unless it is told to include them. The task may be
    retried or cleared: letters that are discarded already stay as they were decided. The service is not called.

    It returns a plain dict: ``destination``, ``discarded`` (dead letters that are discarded now), ``already`` (of the selected
    ones, discarded before) and ``reasons`` (those that are discarded now, by reason).

    :param destination: URI of the run, an ``ObjectStoragePath``, or the summary that ``GeminiBatchFinishOperator`` or
        ``GeminiBatchOperator`` returns (their ``.output``). (templated)
    :param reasons: Dead letters with one of these reasons or finish reasons, as for ``GeminiBatchRedriveOperator``. Default, with
        all other selections: any. (templated)
    :param keys: Dead letters with one of these keys; in a run with ``repeats``, ``key#repeat`` is one repeat. (templated)
    :param message: Dead letters whose message contains this text, whatever the case; between slashes, as in ``/^5\\d\\d/``, it is
        a regular expression (RE2). (templated)
    :param codes: Dead letters with one of these codes (HTTP status or rpc code). (templated)
    :param retryable: Dead letters that are retryable, or those that are not. (templated)
    :param limit: No more letters than these, the first in the order of the shards. (templated)
    :param by: Who decides. Default: None, the task instance. (templated)
    :param note: Why, for those who read it later. Default: empty. (templated)
    :param gemini_conn_id: Not used; a discard needs no connection.

    Raises InputError while the DAG is parsed, for an argument that cannot be valid. When the task runs, raises
    AirflowFailException when the run is not finished or is being redriven, or a key is not a dead letter.
    """

    template_fields: Sequence[str] = (*LettersOperator.template_fields, "by", "note")

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
        by: str | XComArg | None = None,
        note: str | XComArg = "",
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
        self.by: Any = by
        self.note: Any = note

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch.engine.finish.discarding import discard_letters

        with self.one_pass(context):
            done = discard_letters(self.run_here, self.selection(), by=self.by or owner_of(context), note=str(self.note or ""))
        return done.as_dict()
