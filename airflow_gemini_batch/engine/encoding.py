"""Rows become requests in REST form, one line of JSON each.

All that can be wrong with a request is found by ``compile_request`` before the first row is read. After that only a row
can be wrong, and then that row alone: it becomes an ``InvalidRow`` that says why, and the others go on.
No ``json.dumps`` per row: the request is written once and cut where the row's values belong, and what comes in there is
escaped and joined.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pydantic

from airflow_gemini_batch.engine import placeholders, sdk_request
from airflow_gemini_batch.engine.blocks import plain_type
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.placeholders import Template
from airflow_gemini_batch.engine.requests import GenerateRequest, RawRequest, RequestSpec
from airflow_gemini_batch.engine.structured import ENUM, JSON, ParsedColumn
from airflow_gemini_batch.engine.texts import texts, why_no_text

#: What is kept of an error of the user's code: enough for the cause, too little to fill a table with tracebacks.
MAX_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row of which no request can be made, and why, in a sentence for the dead letter."""

    message: str


class RequestEncoder(Protocol):
    """Makes requests of rows.

    :param columns: what it needs to see of the source.
    :param spec: what it makes, as plain JSON, the same for the same request.
    """

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def spec(self) -> dict[str, Any]: ...

    def encode(self, batch: pa.RecordBatch) -> list[bytes | InvalidRow]:
        """One entry a row: the request as JSON on one line without its end, or why there is none."""
        ...


def compile_request(spec: RequestSpec, schema: pa.Schema, model: str) -> RequestEncoder:
    """The encoder for a table of that schema. Raises InputError for anything that cannot work."""
    if isinstance(spec, GenerateRequest):
        return _compile_generate(spec, schema)
    if isinstance(spec, RawRequest):
        return _compile_raw(spec, schema)
    if callable(spec) and not isinstance(spec, type):
        return CallableEncoder(spec, tuple(schema.names))
    raise InputError(
        f"request must be a GenerateRequest, a RawRequest or a function of the row, not {type(spec).__name__}: "
        f"{str(spec)[:100]!r}."
    )


# --- GenerateRequest


@dataclass(frozen=True, slots=True)
class TemplateEncoder:
    """Constant pieces of JSON with the values of columns between them."""

    pieces: tuple[bytes, ...]
    values: tuple[str, ...]
    spec: dict[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.values))

    def encode(self, batch: pa.RecordBatch) -> list[bytes | InvalidRow]:
        if not self.values:
            return [self.pieces[0]] * batch.num_rows
        escaped: dict[str, list[bytes]] = {}
        problems: dict[int, InvalidRow] = {}
        for column in self.columns:
            escaped[column] = _escaped(column, batch.column(column), problems)
        parts: list[Iterable[bytes]] = []
        for piece, column in zip(self.pieces, self.values, strict=False):
            parts += [itertools.repeat(piece, batch.num_rows), escaped[column]]
        parts.append(itertools.repeat(self.pieces[-1], batch.num_rows))
        requests: list[bytes | InvalidRow] = [b"".join(row) for row in zip(*parts, strict=True)]
        for row, problem in problems.items():
            requests[row] = problem
        return requests


def _escaped(name: str, column: pa.Array, problems: dict[int, InvalidRow]) -> list[bytes]:
    """The insides of JSON strings, and into ``problems`` what has none."""
    values: list[Any] = texts(column)
    for row, value in enumerate(values):
        if value.__class__ is str:
            continue
        if value is None:
            problem = f"placeholder ${{{name}}} is null"
        else:
            problem = f"placeholder ${{{name}}} is not valid UTF-8: {value.reason} at byte {value.start}"
        earlier = problems.get(row)
        problems[row] = InvalidRow(f"{earlier.message}; {problem}" if earlier else problem)
        values[row] = ""
    # One call for the whole column. An escaped string holds no newline, so what stands between two is one value.
    lines: list[bytes] = _strings.encode_lines(values)[1:-2].split(b'"\n"')
    return lines


_strings = msgspec.json.Encoder()


def _compile_generate(spec: GenerateRequest, schema: pa.Schema) -> TemplateEncoder:
    prompt = _template(spec.prompt, "prompt", schema)
    if not any(prompt.texts) and not prompt.columns:
        raise InputError("prompt is empty. Write what the model is to be asked, with ${column} where the row's value belongs.")
    system = None if spec.system_instruction is None else _template(spec.system_instruction, "system_instruction", schema)
    answer_schema = None if spec.response_schema is None else _json_schema(spec.response_schema)
    marks = Marks.random()
    written = sdk_request.write_request(
        prompt=marks.prompt,
        system_instruction=None if system is None else marks.system_instruction,
        config=spec.config if answer_schema is None else _with_schema(spec.config, answer_schema),
    )
    try:
        content = json.dumps(written, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        pieces, values = _cut(content, {marks.prompt: prompt, marks.system_instruction: system})
    except ValueError as error:  # UnicodeEncodeError is one
        raise InputError(f"The request cannot be written as JSON in UTF-8: {error}.") from error
    plain = json.loads(content.replace(marks.prompt.encode(), b"").replace(marks.system_instruction.encode(), b""))
    asked = {"prompt": spec.prompt, "system_instruction": spec.system_instruction, "request": plain}
    if answer_schema is not None:
        asked["response_schema"] = answer_schema
    return TemplateEncoder(pieces, values, asked)


@dataclass(frozen=True, slots=True)
class Marks:
    """Stand in for the two texts while the SDK writes the request. Random, so that no text can hold them by chance."""

    prompt: str
    system_instruction: str

    @classmethod
    def random(cls) -> Marks:
        return cls(f"prompt-{secrets.token_hex(16)}", f"system-{secrets.token_hex(16)}")


def _template(text: Any, argument: str, schema: pa.Schema) -> Template:
    if not isinstance(text, str):
        raise InputError(f"{argument} must be a string, not {type(text).__name__}.")
    template = placeholders.parse(text, argument=argument)
    placeholders.require_columns(
        template.columns, schema.names, by=argument, hint=" A dollar sign that is meant as such is written $$."
    )
    for name in template.columns:
        if reason := why_no_text(schema.field(name).type):
            raise InputError(
                f"{argument} names the column {name!r}, which {reason} (type {schema.field(name).type}). "
                "Only values with a text form can stand in a text: cast or decode the column first."
            )
    return template


def _with_schema(config: Any, schema: dict[str, Any]) -> Any:
    """config with the answer's form in it, as JSON Schema: the only form that can say all that pydantic can."""
    checked = sdk_request.checked_config(config)
    if checked.response_schema is not None or checked.response_json_schema is not None:
        raise InputError("The request has two response schemas: its own and config's. Leave one of them out.")
    if checked.response_mime_type not in (None, JSON, ENUM):
        raise InputError(
            f"config.response_mime_type is {checked.response_mime_type!r}; with a response_schema it is {JSON!r} or {ENUM!r}."
        )
    checked.response_json_schema = schema
    checked.response_mime_type = checked.response_mime_type or JSON
    return checked


def _json_schema(response_schema: Any) -> dict[str, Any]:
    """response_schema as JSON Schema. Raises InputError for one that landing could not use."""
    if isinstance(response_schema, dict):
        schema = response_schema
    else:
        try:
            schema = pydantic.TypeAdapter(response_schema).json_schema()
        except (pydantic.errors.PydanticUserError, TypeError) as error:
            raise InputError(
                "response_schema must be a pydantic model, a list[Model] or a JSON Schema as a dict, "
                f"not {response_schema!r}: {error}"
            ) from error
    try:
        plain: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"response_schema cannot be written as JSON: {error}.") from error
    ParsedColumn(plain)
    return plain


def _cut(content: bytes, templates: dict[str, Template | None]) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Cut the written request at the marks and put the templates' own texts, escaped, where they belong."""
    pieces: list[bytes] = [b""]
    values: list[str] = []
    pattern = "|".join(map(re.escape, templates)).encode()
    end = 0
    for mark in re.finditer(pattern, content):
        pieces[-1] += content[end : mark.start()]
        end = mark.end()
        template = templates[mark[0].decode()]
        assert template is not None
        first, *rest = (_strings.encode(text)[1:-1] for text in template.texts)
        pieces[-1] += first
        pieces.extend(rest)
        values.extend(template.columns)
    pieces[-1] += content[end:]
    return tuple(pieces), tuple(values)


# --- RawRequest


@dataclass(frozen=True, slots=True)
class RawEncoder:
    """The column's own JSON, on one line."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def spec(self) -> dict[str, Any]:
        return {"column": self.column}

    def encode(self, batch: pa.RecordBatch) -> list[bytes | InvalidRow]:
        column = batch.column(self.column)
        try:
            values = column.to_pylist()
        except UnicodeDecodeError:
            values = column.cast(pa.large_binary()).to_pylist()
        return [_raw(value, self.column) for value in values]


def _raw(value: str | bytes | None, column: str) -> bytes | InvalidRow:
    if value is None:
        return InvalidRow(f"column {column!r} is null")
    try:
        text = value.decode() if isinstance(value, bytes) else value
        line = _minified(text)
    except UnicodeDecodeError as error:
        return InvalidRow(f"column {column!r} is not valid UTF-8: {error.reason} at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return InvalidRow(f"column {column!r} is not valid JSON: {error}")
    if not line.startswith("{"):
        return InvalidRow(f"column {column!r} holds JSON that is not an object: {line[:40]}")
    return line.encode()


_JSON_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


def _minified(text: str) -> str:
    """The same JSON without white space between tokens, every token as it was written."""
    try:
        return msgspec.json.format(text, indent=-1)
    except msgspec.DecodeError:
        # msgspec refuses an escaped lone surrogate, which is valid JSON and which tables of scraped text do hold.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
        return _JSON_SPACE.sub(r"\1", text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


# --- a callable


@dataclass(frozen=True, slots=True)
class CallableEncoder:
    """The user's own function, row by row."""

    function: Callable[[dict[str, Any]], dict[str, Any]]
    columns: tuple[str, ...]
    spec: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", {"callable": _name(self.function)})

    def encode(self, batch: pa.RecordBatch) -> list[bytes | InvalidRow]:
        try:
            return [self._encode_row(row) for row in batch.to_pylist()]
        except UnicodeDecodeError:  # in some row, found before the function saw any
            return [self._encode_alone(batch.slice(row, 1)) for row in range(batch.num_rows)]

    def _encode_alone(self, batch: pa.RecordBatch) -> bytes | InvalidRow:
        try:
            (row,) = batch.to_pylist()
        except UnicodeDecodeError as error:
            return InvalidRow(f"the row is not valid UTF-8: {error.reason} at byte {error.start}")
        return self._encode_row(row)

    def _encode_row(self, row: dict[str, Any]) -> bytes | InvalidRow:
        request: Any
        try:
            request = self.function(row)
        except Exception as error:
            return InvalidRow(f"the request function raised {type(error).__name__}: {error}"[:MAX_MESSAGE_CHARACTERS])
        if not isinstance(request, dict):
            return InvalidRow(f"the request function returned {type(request).__name__}, not a dict")
        try:
            return _dumped(request)
        except (TypeError, ValueError, RecursionError) as error:
            return InvalidRow(f"the request function returned what JSON cannot hold: {error}"[:MAX_MESSAGE_CHARACTERS])


def _dumped(request: dict[str, Any]) -> bytes:
    # json and not msgspec: NaN is an error here and would silently become null there, and integers may be of any size.
    try:
        return json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate, which can only be written as an escape
        return json.dumps(request, allow_nan=False, separators=(",", ":")).encode()


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _compile_raw(spec: RawRequest, schema: pa.Schema) -> RawEncoder:
    placeholders.require_columns([spec.column], schema.names, by="RawRequest.column")
    type = plain_type(schema.field(spec.column).type)
    kinds = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
        pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_null,
    )  # fmt: skip
    if not any(kind(type) for kind in kinds):
        raise InputError(
            f"RawRequest needs the requests as JSON text; the column {spec.column!r} is of type {type}. "
            "Write it as text first, or give a function of the row, which may return a dict."
        )
    return RawEncoder(spec.column)
