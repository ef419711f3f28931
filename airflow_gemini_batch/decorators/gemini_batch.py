"""``@task.gemini_batch``: a function makes the table, and the task makes the trip.

The function runs when a try begins, and not again when the task comes back from a wait: by then its rows lie in the run. Another
try (a retry, a cleared task) calls it again, and the engine compares: the same rows go on with the run that is there, other rows
are an error that says so, before anything is paid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, determine_kwargs, task_decorator_factory
from airflow.sdk.definitions.context import context_merge

from airflow_gemini_batch._errors import as_airflow_errors
from airflow_gemini_batch.engine.specs import GenerateRequest, RequestSpec
from airflow_gemini_batch.operators.batch import GeminiBatchOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

#: What a list of prompts asks for.
_THE_PROMPT_ITSELF = GenerateRequest(prompt="${prompt}")


class _GeminiBatchDecoratedOperator(DecoratedOperator, GeminiBatchOperator):
    """A function that returns the table, and the trip of that table.

    :param python_callable: returns a DataFrame, an Arrow table, a list of prompts or a list of dicts.
    :param request: default: the column ``prompt`` as it is.
    """

    # What the function returns is data, and data is never rendered.
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(field for field in GeminiBatchOperator.template_fields if field != "source"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {**DecoratedOperator.template_fields_renderers}
    custom_operator_name = "@task.gemini_batch"

    def __init__(self, *, python_callable: Callable[..., Any], request: RequestSpec = _THE_PROMPT_ITSELF, **kwargs: Any) -> None:
        if "source" in kwargs:
            raise TypeError("@task.gemini_batch takes no source: the decorated function returns it. Or use GeminiBatchOperator.")
        super().__init__(python_callable=python_callable, request=request, source=None, **kwargs)

    def execute(self, context: Context) -> Any:
        from airflow_gemini_batch.engine.request.records import as_source, columns_named

        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        returned = self.python_callable(*self.op_args, **arguments)
        with as_airflow_errors():
            self.source = as_source(
                returned, by=f"{self.python_callable.__name__}()", columns=columns_named(self.request, self.key, *self.carry)
            )
        return super().execute(context)


def gemini_batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function that returns the table to ask about; it returns the summary, as ``GeminiBatchOperator`` does.

    :param python_callable: the function: returns a pandas DataFrame, an Arrow table, a list of prompts or a list of dicts.
    :param kwargs: those of ``GeminiBatchOperator`` but ``source``. ``model`` and ``destination`` are needed; ``request`` is by
        default ``GenerateRequest(prompt="${prompt}")``, which is what a list of prompts needs.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_GeminiBatchDecoratedOperator, **kwargs
    )
