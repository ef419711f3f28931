"""``RawRequest``: a column of REST requests, which are sent token by token as they are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.layouts import plain_type
from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.arrow.values import explain_bytes
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.json.strict import no_constant
from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow
from airflow_gemini_batch.engine.request.response_schema import json_schema
from airflow_gemini_batch.engine.shapes.dimensions import dimensions_for
from airflow_gemini_batch.engine.specs import RawRequest


@dataclass(frozen=True, slots=True)
class RawEncoder:
    """The column's own JSON, on one line.

    :param dimensions: the length of each row's vector, where the requests are for embeddings.
    :param response_schema: what the answers are validated against.
    """

    column: str
    dimensions: int | None = None
    response_schema: dict[str, Any] | None = None
    any_thread: ClassVar[bool] = True

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def spec(self) -> dict[str, Any]:
        asked: dict[str, Any] = {"column": self.column}
        if self.dimensions is not None:
            # Tells the later steps that the answers are vectors, and of which length.
            asked["embed_request"] = {"output_dimensionality": self.dimensions}
        if self.response_schema is not None:
            asked["response_schema"] = self.response_schema
        return asked

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        requests = [_raw(value, self.column) for value in json_values(batch.column(self.column))]
        if self.dimensions is not None:
            requests = [_of_length(request, self.dimensions) for request in requests]
        return Encoded.of(requests)


def compile_raw(spec: RawRequest, schema: pa.Schema, model: str) -> RawEncoder:
    """Raises InputError for a table or model that cannot be used."""
    require_columns([spec.column], schema, by="RawRequest.column")
    type = schema.field(spec.column).type
    if not may_hold_json(type):
        raise InputError(
            f"RawRequest needs the requests as JSON text; the column {spec.column!r} is of type {type}. "
            "Convert it to text first, or pass a function of the row, which may return a dict."
        )
    if spec.format == "gemini":
        return RawEncoder(spec.column, response_schema=schema_of_answers(spec))
    require_no_schema(spec)
    return RawEncoder(spec.column, dimensions_for(model, spec.dimensions))


def schema_of_answers(spec: RawRequest) -> dict[str, Any] | None:
    return None if spec.response_schema is None else json_schema(spec.response_schema)


def require_no_schema(spec: RawRequest) -> None:
    if spec.response_schema is not None:
        raise InputError(
            f"RawRequest has a response_schema, but the answers of format={spec.format!r} are vectors. Leave it out."
        )


def may_hold_json(type: pa.DataType) -> bool:
    """Whether a column of that type can hold JSON as text."""
    kinds = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
        pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_null,
    )  # fmt: skip
    return any(kind(plain_type(type)) for kind in kinds)


def json_values(column: pa.Array) -> list[str | bytes | None]:
    """The texts of such a column, as bytes where one of them is not valid UTF-8."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        return column.cast(pa.large_binary()).to_pylist()  # type: ignore[no-any-return]


def _raw(value: str | bytes | None, column: str) -> bytes | InvalidRow:
    if value is None:
        return InvalidRow(f"column {column!r} is null")
    try:
        text = value.decode() if isinstance(value, bytes) else value
        line = _minified(text)
    except UnicodeDecodeError as error:
        return InvalidRow(f"column {column!r} is not valid UTF-8: {explain_bytes(error)}")
    except (ValueError, RecursionError) as error:
        return InvalidRow(f"column {column!r} is not valid JSON: {error}")
    if not line.startswith("{"):
        return InvalidRow(f"column {column!r} holds JSON that is not an object: {line[:40]}")
    return line.encode()


def _of_length(request: bytes | InvalidRow, dimensions: int) -> bytes | InvalidRow:
    """The request with the column's vector length: it already asks for it, or it is added."""
    if isinstance(request, InvalidRow) or request == b"{}":
        return request
    try:
        found = json.loads(request)
    except (ValueError, RecursionError) as error:
        return InvalidRow(f"the request cannot be read: {error}")
    asked = found.get("output_dimensionality", found.get("outputDimensionality"))
    if asked is None:
        return b'{"output_dimensionality":%d,%b' % (dimensions, request[1:])
    if asked != dimensions:
        return InvalidRow(
            f"the request asks for {asked!r} dimensions, and the run has {dimensions}: set RawRequest(dimensions=…)"
        )
    return request


_JSON_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


def _minified(text: str) -> str:
    """The same JSON without white space between tokens, every token as it was written."""
    try:
        return msgspec.json.format(text, indent=-1)
    except msgspec.DecodeError:
        # msgspec refuses an escaped lone surrogate, which is valid JSON and occurs in tables of scraped text.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=no_constant)
        return _JSON_SPACE.sub(r"\1", text)
