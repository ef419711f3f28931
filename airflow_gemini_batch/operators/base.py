"""What the operators share: the connection, the options, and the arguments that describe a run.

Nothing heavy is imported while a DAG file is parsed, which Airflow does continually; the engine is imported where a task runs.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from airflow.sdk import BaseOperator

from airflow_gemini_batch._compat import allow_in_xcom
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RawRequest, RequestSpec, is_data, request_of
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.operators._arguments import check_arguments, is_resolved_later
from airflow_gemini_batch.operators._cancellation import CancelsOnKill
from airflow_gemini_batch.operators._rendering import ShownRequest, as_it_is, renderable
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger

if TYPE_CHECKING:
    import os

    from airflow.sdk import Context, ObjectStoragePath, XComArg
    from airflow.sdk.definitions.mappedoperator import OperatorPartial
    from typing_extensions import Unpack

    from airflow_gemini_batch.engine.build.building import RunSpec
    from airflow_gemini_batch.engine.gemini.client import GeminiClient
    from airflow_gemini_batch.engine.run.layout import Run
    from airflow_gemini_batch.operators._airflow_arguments import BaseOperatorArguments, GeminiOperatorArguments

#: How long after the trigger's own deadline Airflow waits before it fails the task by itself.
BACKSTOP = timedelta(minutes=5)

# An upstream task may return a request, of which one is mapped over.
allow_in_xcom(GenerateRequest, EmbedRequest, RawRequest)


class GeminiOperator(CancelsOnKill, BaseOperator):
    """An operator with a Gemini connection.

    :param gemini_conn_id: The connection's id. Default: ``gemini_default``.
    """

    template_fields: Sequence[str] = ("gemini_conn_id",)
    #: URI of the run, of the operators that work on a whole one. Any: it may be an XComArg until Airflow has rendered it.
    destination: Any
    ui_color = "#e8f0fe"

    #: Arguments that are checked when the DAG is parsed, also those given to ``partial`` or by ``default_args``.
    checked: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, gemini_conn_id: str = GeminiHook.default_conn_name, **kwargs: Unpack[BaseOperatorArguments]) -> None:
        super().__init__(**kwargs)
        self.gemini_conn_id = gemini_conn_id

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        """As in Airflow; the arguments in ``checked`` are checked here, not only when the mapped task runs."""
        made: OperatorPartial = super().partial(**arguments)
        check_arguments({name: made.kwargs[name] for name in cls.checked if name in made.kwargs})
        return made

    @property
    def map_label(self) -> str:
        """What tells a mapped task instance from the others, for ``map_index_template="{{ task.map_label }}"``."""
        return self.task_id

    @cached_property
    def hook(self) -> GeminiHook:
        return GeminiHook(self.gemini_conn_id)

    @property
    def run_here(self) -> Run:
        """The run at the destination, of the operators that have one."""
        from airflow_gemini_batch._locations import locate
        from airflow_gemini_batch.engine.run.layout import Run

        return Run(locate(self.destination), locate)

    def connect(self) -> GeminiClient:
        """A client for one pass of the task, to be closed after it."""
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        return GeminiClient(self.hook.endpoint)

    def wait_in_triggerer(
        self, *, jobs: Sequence[str], poll_interval: float, deadline: float, until: float | None = None, **trigger: Any
    ) -> NoReturn:
        """Release the worker slot until ``execute_complete`` is called. The arguments are those of ``GeminiBatchTrigger``."""
        until = deadline if until is None else until
        self.defer(
            trigger=GeminiBatchTrigger(
                gemini_conn_id=self.gemini_conn_id,
                jobs=jobs,
                poll_interval=poll_interval,
                deadline=deadline,
                until=until,
                **trigger,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, until - time.time())) + BACKSTOP,
        )


class ShardStep(GeminiOperator):
    """A step for one shard, usually mapped over all shards.

    Mapped with ``partial().expand()``, it runs for the shards that have arrived even if others have failed: what has been paid
    for is collected while the service still has it. ``GeminiBatchFinishOperator`` names the shards that are missing.
    """

    job: Any

    @property
    def map_label(self) -> str:
        return label_of(self.job)

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        # Airflow's own default would mark the step of every shard as upstream_failed when one shard fails.
        return super().partial(**{"trigger_rule": "all_done_min_one_success", **arguments})


class TableOperator(GeminiOperator):
    """An operator that makes a run from a table.

    Jinja is rendered in the texts of a request (``prompt``, ``system_instruction``, the ``text`` of an ``EmbedRequest``, and all
    texts of ``config`` and of a ``response_schema`` that is not a class), for values that belong to the DAG run; ``${column}``
    stands for values that belong to the row. Row data is never rendered.
    """

    #: The texts live in the request. The properties below present them to Airflow as fields of the operator, so that it renders
    #: and displays them as it does all others. An EmbedRequest's ``text`` is shown as ``prompt``. ``request_spec`` is the whole
    #: request, which comes first because it may come from an upstream task; it and ``options`` are only shown.
    template_fields: Sequence[str] = (
        "request_spec",
        "source",
        "model",
        "destination",
        "key",
        "carry",
        "reuse",
        "labels",
        "max_cost_usd",
        "options",
        "prompt",
        "system_instruction",
        "config",
        "response_schema",
        *GeminiOperator.template_fields,
    )
    checked: ClassVar[tuple[str, ...]] = (
        "request",
        "model",
        "destination",
        "key",
        "carry",
        "dedupe",
        "reuse",
        "labels",
        "sample",
        "max_cost_usd",
        "if_exists",
        "options",
    )

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
        max_cost_usd: float | XComArg | None = None,
        if_exists: Literal["resume", "replace"] = "resume",
        options: BatchOptions | Mapping[str, Any] | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_arguments(
            {
                "request": request,
                "model": model,
                "destination": destination,
                "key": key,
                "carry": carry,
                "dedupe": dedupe,
                "reuse": reuse,
                "labels": labels,
                "sample": sample,
                "max_cost_usd": max_cost_usd,
                "if_exists": if_exists,
            }
        )
        self.source = _unrendered(source)
        self.request: Any = request_of(request) if isinstance(request, Mapping) else request
        # Any: each may be an XComArg until Airflow has rendered it.
        self.model: Any = model
        self.destination = destination
        self.key: Any = key
        self.carry = carry
        self.dedupe = dedupe
        self.reuse: Any = reuse
        self.labels: Any = labels
        self.sample = sample
        self.max_cost_usd: Any = max_cost_usd
        self.if_exists: Literal["resume", "replace"] = if_exists
        self.options = BatchOptions.of(options)

    @property
    def map_label(self) -> str:
        return str(self.destination)

    @property
    def request_spec(self) -> Any:
        """The request as Airflow shows it; before an upstream task's output is known, that output."""
        return self.request if is_resolved_later(self.request) else ShownRequest(self.request)

    @request_spec.setter
    def request_spec(self, resolved: Any) -> None:
        if isinstance(resolved, ShownRequest):
            return
        check_arguments({"request": resolved})
        self.request = request_of(resolved) if isinstance(resolved, Mapping) else resolved

    @property
    def prompt(self) -> Any:
        """The request's prompt, or the text of an ``EmbedRequest``; None for other requests."""
        if isinstance(self.request, EmbedRequest):
            return self._text(self.request.text)
        return self._text(self.request.prompt) if isinstance(self.request, GenerateRequest) else None

    @prompt.setter
    def prompt(self, rendered: Any) -> None:
        self._replace_in_request(**{"text" if isinstance(self.request, EmbedRequest) else "prompt": rendered})

    @property
    def system_instruction(self) -> Any:
        """The request's system instruction; None for requests without one."""
        return self._text(self.request.system_instruction) if isinstance(self.request, GenerateRequest) else None

    @system_instruction.setter
    def system_instruction(self, rendered: Any) -> None:
        self._replace_in_request(system_instruction=rendered)

    @property
    def config(self) -> Any:
        """The request's config, in a form that Airflow can render; None for requests without one."""
        return self._text(renderable(getattr(self.request, "config", None)))

    @config.setter
    def config(self, rendered: Any) -> None:
        self._replace_in_request(config=rendered)

    @property
    def response_schema(self) -> Any:
        """The request's response schema as a dict or JSON text; None for a class, which Airflow cannot render, and for none."""
        schema = getattr(self.request, "response_schema", None)
        return self._text(renderable(schema)) if isinstance(schema, (Mapping, str)) else None

    @response_schema.setter
    def response_schema(self, rendered: Any) -> None:
        self._replace_in_request(response_schema=rendered)

    @property
    def question(self) -> RunSpec:
        """The run's specification, as the engine takes it."""
        from airflow_gemini_batch._locations import locate, plain_source
        from airflow_gemini_batch.engine.build.building import RunSpec, uris_of

        return RunSpec(
            source=plain_source(self.source),
            request=self.request,
            model=self.model,
            key=self.key,
            carry=tuple(self.carry),
            dedupe=self.dedupe,
            reuse=uris_of(self.reuse),
            labels=self.labels,
            sample=self.sample,
            max_cost_usd=self.max_cost_usd,
            locate=locate,
        )

    def _text(self, value: Any) -> Any:
        """A part of the request as Airflow renders it: not at all where it came from an upstream task, which is data."""
        return as_it_is(value) if is_data(self.request) else value

    def _replace_in_request(self, **texts: Any) -> None:
        if is_data(self.request):
            return
        # A copy: the DAG's own request may be shared by several tasks.
        if dataclasses.is_dataclass(self.request) and not isinstance(self.request, type):
            names = {field.name for field in dataclasses.fields(self.request)}
            self.request = dataclasses.replace(self.request, **{name: text for name, text in texts.items() if name in names})


def _unrendered(source: Any) -> Any:
    """A list of dicts in a form into which Airflow's rendering of templates does not descend: it holds row data."""
    is_rows = isinstance(source, (list, tuple)) and any(isinstance(item, Mapping) for item in source)
    return collections.UserList(source) if is_rows else source


def label_of(reference: Any) -> str:
    """The shard that a reference names."""
    if not isinstance(reference, Mapping):
        return ""
    attempt = reference.get("attempt")
    return f"shard {reference.get('shard')}" + (f", attempt {attempt}" if attempt else "")


def owner_of(context: Context) -> str:
    """The task instance without its try number, so that a retry finds the run that the first try began."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"
