"""What a run of a table would send and cost, as a task before it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.specs import RequestSpec
from airflow_gemini_batch.operators._arguments import check_arguments
from airflow_gemini_batch.operators._table import RequestsOperator

if TYPE_CHECKING:
    import os

    from airflow.sdk import Context, ObjectStoragePath, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments

log = logging.getLogger(__name__)


class GeminiBatchEstimateOperator(RequestsOperator):
    """Say what a run of a table would send and cost. The table is read; nothing is written or paid for.

    It returns the estimate as a plain dict: ``rows``, ``requests`` (to be paid for), ``deduplicated``, ``reused``, ``invalid``;
    ``input_tokens``, ``output_tokens``, ``thoughts_tokens``, ``image_tokens`` and ``usd``, each with ``low``, ``middle``,
    ``high`` and the ``basis`` that they rest on (``usd`` is None where no price is known); ``price``, ``notes``, and ``text``,
    which says it in a sentence.

    :param source: The input table, as for ``GeminiBatchOperator``. (URIs are templated; row data never is.)
    :param request: The request for each row, as for ``GeminiBatchOperator``.
    :param model: The model's name. (templated)
    :param trial: A finished run of the same request with ``sample``: its destination, or the summary that
        ``GeminiBatchOperator`` returns (its ``.output``). Default: None, so bytes give a range. (templated)
    :param key: The column that identifies a row. Default: None, the row's number. (templated)
    :param dedupe: Whether rows with equal requests share one, as the run will have it. Default: True.
    :param reuse: Finished runs, or folders of runs, as the run will have it: what these have answered costs nothing. Name the
        trial here too if the run will. Default: None. (templated)
    :param repeats: How often each row is sent, as the run will have it. Default: 1.
    :param count_tokens: How many requests the service is asked to count the input of, which is free. 50 know the input to about
        5 %. Default: None, no call is made, and no connection is needed.
    :param options: A ``BatchOptions``, or a dict of its fields. ``prices``, ``schema_field`` and ``reuse_max_age`` matter here.
    :param gemini_conn_id: The connection's id. Default: ``gemini_default``. (templated)

    Raises InputError while the DAG is parsed, for an argument that cannot be valid, and AirflowFailException when the source, the
    request, the trial or a run of ``reuse`` cannot be used.
    """

    template_fields: Sequence[str] = (*RequestsOperator.template_fields, "trial")
    checked: ClassVar[tuple[str, ...]] = (*RequestsOperator.checked, "trial", "count_tokens")

    def __init__(
        self,
        *,
        source: Any,
        request: RequestSpec | Mapping[str, Any] | XComArg,
        model: str | XComArg,
        trial: str | os.PathLike[str] | ObjectStoragePath | Mapping[str, Any] | XComArg | None = None,
        key: str | XComArg | None = None,
        dedupe: bool = True,
        reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | XComArg | None = None,
        repeats: int = 1,
        count_tokens: int | None = None,
        options: BatchOptions | Mapping[str, Any] | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(
            source=source,
            request=request,
            model=model,
            key=key,
            dedupe=dedupe,
            reuse=reuse,
            repeats=repeats,
            options=options,
            **kwargs,
        )
        check_arguments({"trial": trial, "count_tokens": count_tokens})
        # Any: it may be an XComArg until Airflow has rendered it.
        self.trial: Any = trial
        self.count_tokens = count_tokens

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_gemini_batch._locations import run_uri_of
        from airflow_gemini_batch.engine.estimate.estimating import estimate_run

        with as_airflow_errors(self.hook):
            found = estimate_run(
                self.question,
                self.options,
                trial=None if self.trial is None else run_uri_of(self.trial, "trial"),
                count_tokens=self.count_tokens,
                endpoint=None if self.count_tokens is None else self.hook.endpoint,
            )
        log.info("%s", found)
        return found.as_dict()
