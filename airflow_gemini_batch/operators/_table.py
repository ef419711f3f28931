"""The operators that take a table and make requests of it, and the arguments that describe them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_gemini_batch._compat import allow_in_xcom
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RawRequest, RequestSpec, is_data, request_of
from airflow_gemini_batch.operators._arguments import amount_of, check_arguments, is_resolved_later
from airflow_gemini_batch.operators._rendering import ShownRequest, as_it_is, renderable
from airflow_gemini_batch.operators.base import GeminiOperator

if TYPE_CHECKING:
    import os

    from airflow.sdk import ObjectStoragePath, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch.engine.build.call import RunSpec
    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments

# An upstream task may return a request, of which one is mapped over.
allow_in_xcom(GenerateRequest, EmbedRequest, RawRequest)


class RequestsOperator(GeminiOperator):
    """An operator that makes requests of the rows of a table.

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
        "key",
        "reuse",
        "options",
        "prompt",
        "system_instruction",
        "config",
        "response_schema",
        *GeminiOperator.template_fields,
    )
    checked: ClassVar[tuple[str, ...]] = ("request", "model", "key", "dedupe", "reuse", "repeats", "options")

    def __init__(
        self,
        *,
        source: Any,
        request: RequestSpec | Mapping[str, Any] | XComArg,
        model: str | XComArg,
        key: str | XComArg | None = None,
        dedupe: bool = True,
        reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | XComArg | None = None,
        repeats: int = 1,
        options: BatchOptions | Mapping[str, Any] | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        given = {"request": request, "model": model, "key": key, "dedupe": dedupe, "reuse": reuse, "repeats": repeats}
        check_arguments(given)
        self.source = _unrendered(source)
        self.request: Any = request_of(request) if isinstance(request, Mapping) else request
        # Any: each may be an XComArg until Airflow has rendered it.
        self.model: Any = model
        self.key: Any = key
        self.dedupe = dedupe
        self.reuse: Any = reuse
        self.repeats = repeats
        self.options = BatchOptions.of(options)

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
        """The specification of the requests, as the engine takes it."""
        from airflow_gemini_batch._locations import locate, plain_source
        from airflow_gemini_batch.engine.build.call import RunSpec, uris_of

        return RunSpec(
            source=plain_source(self.source),
            request=self.request,
            model=self.model,
            key=self.key,
            dedupe=self.dedupe,
            reuse=uris_of(self.reuse),
            repeats=self.repeats,
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


class TableOperator(RequestsOperator):
    """An operator that makes a run from a table."""

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
        *RequestsOperator.checked,
        "destination",
        "carry",
        "labels",
        "sample",
        "max_cost_usd",
        "if_exists",
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
        repeats: int = 1,
        max_cost_usd: float | str | XComArg | None = None,
        if_exists: Literal["resume", "replace"] = "resume",
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
        check_arguments(
            {
                "destination": destination,
                "carry": carry,
                "labels": labels,
                "sample": sample,
                "max_cost_usd": max_cost_usd,
                "if_exists": if_exists,
            }
        )
        # Any: each may be an XComArg until Airflow has rendered it.
        self.destination = destination
        self.carry = carry
        self.labels: Any = labels
        self.sample = sample
        self.max_cost_usd: Any = max_cost_usd
        self.if_exists: Literal["resume", "replace"] = if_exists

    @property
    def map_label(self) -> str:
        return str(self.destination)

    @property
    def question(self) -> RunSpec:
        return dataclasses.replace(
            super().question,
            carry=tuple(self.carry),
            labels=self.labels,
            sample=self.sample,
            max_cost_usd=amount_of(self.max_cost_usd),
        )


def _unrendered(source: Any) -> Any:
    """A list of dicts in a form into which Airflow's rendering of templates does not descend: it holds row data."""
    is_rows = isinstance(source, (list, tuple)) and any(isinstance(item, Mapping) for item in source)
    return collections.UserList(source) if is_rows else source
