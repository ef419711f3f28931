"""``@task.gemini_batch``: a function returns the table, and the task sends it through the Gemini Batch API.

The function runs once per try. When the task resumes after a wait, its rows are already stored in the run. Another try (a retry
or a cleared task) calls the function again, and the engine compares: the same rows resume the existing run, and different rows
raise an error before anything is paid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, determine_kwargs, task_decorator_factory
from airflow.sdk.definitions.context import context_merge

from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.specs import GenerateRequest, RequestSpec
from airflow_gemini_batch.operators.batch import GeminiBatchOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

#: The request of a list of prompts.
_THE_PROMPT_ITSELF = GenerateRequest(prompt="${prompt}")


class _GeminiBatchDecoratedOperator(DecoratedOperator, GeminiBatchOperator):
    """A function that returns a table, and the run of that table.

    :param python_callable: returns a DataFrame, an Arrow table, a list of prompts or a list of dicts.
    :param request: the request for each row. Default: the column ``prompt``, unchanged.
    """

    # The function returns data, and data is never rendered as a template.
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(field for field in GeminiBatchOperator.template_fields if field != "source"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {**DecoratedOperator.template_fields_renderers}
    custom_operator_name = "@task.gemini_batch"

    def __init__(self, *, python_callable: Callable[..., Any], request: RequestSpec = _THE_PROMPT_ITSELF, **kwargs: Any) -> None:
        if "source" in kwargs:
            raise InputError(
                "@task.gemini_batch does not accept source: the decorated function returns the table. To read a source, use "
                "GeminiBatchOperator."
            )
        super().__init__(python_callable=python_callable, request=request, source=None, **kwargs)

    def execute(self, context: Context) -> Any:
        from airflow_gemini_batch.engine.request.named_columns import columns_named
        from airflow_gemini_batch.engine.source.records import as_source

        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        returned = self.python_callable(*self.op_args, **arguments)
        with as_airflow_errors(self.hook):
            self.source = as_source(
                returned, by=f"{self.python_callable.__name__}()", columns=columns_named(self.request, self.key, *self.carry)
            )
        return super().execute(context)


def gemini_batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Turn a function that returns a table into a task; the task returns the summary, as ``GeminiBatchOperator`` does.

    :param python_callable: the function. It returns a pandas DataFrame, an Arrow table, a list of prompts or a list of dicts.
    :param kwargs: the arguments of ``GeminiBatchOperator`` except ``source``, ``options`` among them. ``model`` and
        ``destination`` are required. Default of ``request``: ``GenerateRequest(prompt="${prompt}")``, for a list of prompts.

    Raises InputError while the DAG is parsed, for an argument that cannot be valid.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_GeminiBatchDecoratedOperator, **kwargs
    )
