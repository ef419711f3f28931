"""Rows become requests in REST form, one line of JSON each.

Everything that can be wrong with a request is found by ``compile_request`` before the first row is read. After that only single
rows can be wrong: such a row becomes an ``InvalidRow`` with the reason, and the others continue.
There is no ``json.dumps`` per row: the request is written once and cut where the row's values go; the values are escaped and
joined with the pieces.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.texts import why_no_python
from airflow_gemini_batch.engine.arrow.values import NoText, values_of
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.json.strict import one_line
from airflow_gemini_batch.engine.options import SchemaField
from airflow_gemini_batch.engine.request import sdk_request
from airflow_gemini_batch.engine.request.config_texts import literal_schema, marked_texts
from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow
from airflow_gemini_batch.engine.request.media import MediaEncoder, media_columns, media_slot
from airflow_gemini_batch.engine.request.openai.encoding import compile_openai
from airflow_gemini_batch.engine.request.raw import compile_raw
from airflow_gemini_batch.engine.request.response_schema import in_field, json_schema, with_schema
from airflow_gemini_batch.engine.request.row_configs import RowConfigEncoder
from airflow_gemini_batch.engine.request.templates import TemplateEncoder, cut_at, mark, read_template
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.shapes.dimensions import default_dimension
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RawRequest, RequestSpec

#: Fields that a request naming a cached content cannot set itself.
_OF_THE_CACHE = ("system_instruction", "tools", "tool_config")

#: Characters kept of an error raised by user code: enough for the cause, too few to fill a table with tracebacks.
MAX_MESSAGE_CHARACTERS = 500


class RequestEncoder(Protocol):
    """Makes requests from rows.

    :param columns: the columns of the source that it reads.
    :param spec: the request specification as plain JSON, the same for the same request.
    :param any_thread: whether ``encode`` may be called in any thread, several times at once. Where it calls users' code, or
        remembers what it has seen, it is called in the thread that builds, block after block.
    """

    @property
    def any_thread(self) -> bool: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def spec(self) -> dict[str, Any]: ...

    def encode(self, batch: pa.RecordBatch) -> Encoded: ...


def compile_request(
    spec: RequestSpec,
    schema: pa.Schema,
    model: str,
    locate: Callable[[str], Location] = locate,
    schema_field: SchemaField = "response_json_schema",
) -> RequestEncoder:
    """The encoder for a table of that schema. Raises InputError for a request that cannot be used.

    :param locate: opens the media files that rows name.
    :param schema_field: the field of the config that carries a ``response_schema``.
    """
    if isinstance(spec, GenerateRequest) and spec.config_column is not None:
        return RowConfigEncoder(spec, schema, lambda one: compile_request(one, schema, model, locate, schema_field))
    if isinstance(spec, GenerateRequest):
        return _compile_generate(spec, schema, locate, schema_field)
    if isinstance(spec, EmbedRequest):
        return _compile_embed(spec, schema, model)
    if isinstance(spec, RawRequest) and spec.format in ("gemini", "gemini-embeddings"):
        return compile_raw(spec, schema, model)
    if isinstance(spec, RawRequest):
        return compile_openai(spec, schema, model, schema_field)
    if callable(spec) and not isinstance(spec, type):
        if any(is_odd(spec) for is_odd in (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)):
            raise InputError(f"request is {_name(spec)}, which is async or a generator; expected a function that returns a dict.")
        _require_python_values(schema)
        return CallableEncoder(spec, tuple(schema.names))
    raise InputError(
        f"request must be a GenerateRequest, an EmbedRequest, a RawRequest or a function of the row, not {type(spec).__name__}: "
        f"{str(spec)[:100]!r}."
    )


# --- GenerateRequest


def _compile_generate(
    spec: GenerateRequest, schema: pa.Schema, locate: Callable[[str], Location], schema_field: SchemaField
) -> TemplateEncoder | MediaEncoder:
    prompt = read_template(spec.prompt, "prompt", schema)
    if prompt.is_empty:
        raise InputError("prompt is empty. Write the question for the model, with ${column} where the row's value goes.")
    marks = {mark(): prompt}
    [prompt_mark] = marks
    system_mark = None
    if spec.system_instruction is not None:
        marks[system_mark := mark()] = read_template(spec.system_instruction, "system_instruction", schema)
    answer_schema = None if spec.response_schema is None else json_schema(spec.response_schema)
    config = spec.config if answer_schema is None else with_schema(spec.config, answer_schema)
    media, media_mark = media_columns(spec.media, schema), None
    if media:
        marks |= media_slot(media_mark := mark())
    written = sdk_request.write_request(prompt=prompt_mark, system_instruction=system_mark, config=config, media=media_mark)
    _require_cache_alone(written)
    written, filled, shown = marked_texts(written, schema, done=marks, own_schema=answer_schema is not None)
    if answer_schema is not None:
        written, answer_schema = in_field(written, schema_field), literal_schema(answer_schema)
    pieces, values, plain = cut_at(written, marks | filled, shown)
    asked = {"prompt": spec.prompt, "system_instruction": spec.system_instruction, "request": plain}
    if answer_schema is not None:
        asked["response_schema"] = answer_schema
    encoder = TemplateEncoder(pieces, values, asked)
    return MediaEncoder(encoder, media, locate) if media else encoder


def _require_cache_alone(written: dict[str, Any]) -> None:
    found = [name for name in _OF_THE_CACHE if written.get(name)] if written.get("cached_content") else []
    if found:
        raise InputError(
            f"The request names {written['cached_content']!r} together with {', '.join(found)}: the service refuses every such "
            "request, because they are part of the cached content. Create the cache with them and leave them out here."
        )


# --- EmbedRequest


def _compile_embed(spec: EmbedRequest, schema: pa.Schema, model: str) -> TemplateEncoder:
    text = read_template(spec.text, "text", schema)
    if text.is_empty:
        raise InputError("text is empty. Write the text to embed, with ${column} where the row's value goes.")
    config = sdk_request.checked_embed_config(spec.config)
    if config.output_dimensionality is None:
        config.output_dimensionality = default_dimension(model)
    if config.output_dimensionality < 1:
        raise InputError(f"config.output_dimensionality is {config.output_dimensionality}; expected 1 or more.")
    marks = {mark(): text}
    [text_mark] = marks
    title = config.title
    if title is not None:
        config.title = mark()
        marks[config.title] = read_template(title, "config.title", schema)
    written, _, _ = marked_texts(sdk_request.write_embed_request(text=text_mark, config=config), schema, done=marks)
    pieces, values, plain = cut_at(written, marks)
    return TemplateEncoder(pieces, values, {"text": spec.text, "title": title, "embed_request": plain})


# --- a callable


def _require_python_values(schema: pa.Schema) -> None:
    for name, type in zip(schema.names, schema.types, strict=True):
        if reason := why_no_python(type):
            raise InputError(
                f"A function of the row gets all columns, and the column {name!r} {reason} (type {type}), which Python "
                "cannot hold. Cast the column, or drop it from the source."
            )


@dataclass(frozen=True, slots=True)
class CallableEncoder:
    """The user's own function, row by row."""

    function: Callable[[dict[str, Any]], dict[str, Any]]
    columns: tuple[str, ...]
    spec: dict[str, Any] = field(init=False)
    any_thread: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", {"callable": _name(self.function)})

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        names = batch.schema.names
        columns = [values_of(column) for column in batch.columns]
        rows = zip(*columns, strict=True) if columns else [()] * batch.num_rows
        return Encoded.of([self._encode_values(names, values) for values in rows])

    def _encode_values(self, names: Sequence[str], values: Sequence[Any]) -> bytes | InvalidRow:
        for name, value in zip(names, values, strict=True):
            if isinstance(value, NoText):
                return InvalidRow(f"the value of the column {name!r} {value.reason}"[:MAX_MESSAGE_CHARACTERS])
        return self._encode_row(dict(zip(names, values, strict=True)))

    def _encode_row(self, row: dict[str, Any]) -> bytes | InvalidRow:
        request: Any
        try:
            request = self.function(row)
        except Exception as error:
            return InvalidRow(f"the request function raised {type(error).__name__}: {error}"[:MAX_MESSAGE_CHARACTERS])
        if not isinstance(request, dict):
            return InvalidRow(f"the request function returned {type(request).__name__}, not a dict")
        try:
            return one_line(request)
        except (TypeError, ValueError, RecursionError) as error:
            return InvalidRow(f"the request function returned what JSON cannot hold: {error}"[:MAX_MESSAGE_CHARACTERS])


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
