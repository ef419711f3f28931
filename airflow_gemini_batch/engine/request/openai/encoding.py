"""``RawRequest(format="openai")``: a column of OpenAI bodies as requests, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.json.strict import one_line
from airflow_gemini_batch.engine.options import SchemaField
from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow
from airflow_gemini_batch.engine.request.openai.requests import chat_request, embed_request
from airflow_gemini_batch.engine.request.openai.values import Json, NotConvertibleError, read_json
from airflow_gemini_batch.engine.request.raw import json_values, may_hold_json, require_no_schema, schema_of_answers
from airflow_gemini_batch.engine.request.response_schema import in_field
from airflow_gemini_batch.engine.shapes.answer_schema import AnswerSchema
from airflow_gemini_batch.engine.shapes.dimensions import dimensions_for
from airflow_gemini_batch.engine.specs import RawRequest

#: The column of an OpenAI batch file that names the endpoint of its line.
URL_COLUMN = "url"
_URL_ENDS = {"openai": "/chat/completions", "openai-embeddings": "/embeddings"}


@dataclass(frozen=True, slots=True)
class OpenAIEncoder:
    """Converts each body, and refuses lines whose URL asks for another endpoint than this run."""

    columns: tuple[str, ...]
    spec: Json
    url_end: str
    convert: Callable[[Json], Json]
    any_thread: ClassVar[bool] = True

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        bodies = json_values(batch.column(self.columns[0]))
        urls = json_values(batch.column(URL_COLUMN)) if URL_COLUMN in self.columns[1:] else [None] * len(bodies)
        return Encoded.of([self._encode(body, url) for body, url in zip(bodies, urls, strict=True)])

    def _encode(self, body: str | bytes | None, url: str | bytes | None) -> bytes | InvalidRow:
        column = self.columns[0]
        if url is not None and not str(url).endswith(self.url_end):
            return InvalidRow(f"the line asks for {url!r}, this run for {self.url_end!r}: one run makes requests of one kind")
        if body is None:
            return InvalidRow(f"column {column!r} is null")
        try:
            found = read_json(body)
        except (ValueError, RecursionError) as error:
            return InvalidRow(f"column {column!r} is not valid JSON: {error}")
        if not isinstance(found, dict):
            return InvalidRow(f"column {column!r} holds JSON that is not an object: {str(found)[:40]}")
        try:
            return one_line(self.convert(found))
        except (NotConvertibleError, RecursionError) as error:
            return InvalidRow(f"OpenAI body: {error}")


def compile_openai(
    spec: RawRequest, schema: pa.Schema, model: str, schema_field: SchemaField = "response_json_schema"
) -> OpenAIEncoder:
    """Raises InputError for a table or model that cannot be used."""
    if spec.format not in _URL_ENDS:
        raise InputError(
            f"RawRequest.format is {spec.format!r}; expected 'gemini', 'gemini-embeddings', {', '.join(map(repr, _URL_ENDS))}."
        )
    require_columns([spec.column], schema, by="RawRequest.column")
    type = schema.field(spec.column).type
    if not may_hold_json(type):
        raise InputError(f"The OpenAI bodies must be JSON text; the column {spec.column!r} is of type {type}.")
    columns = (spec.column, URL_COLUMN) if URL_COLUMN in schema.names and spec.column != URL_COLUMN else (spec.column,)
    asked: Json = {"column": spec.column, "format": spec.format}
    if spec.format == "openai":
        if (answers := schema_of_answers(spec)) is not None:
            asked["response_schema"] = answers
        if schema_field != "response_json_schema":
            asked["schema_field"] = schema_field
        return OpenAIEncoder(
            columns, asked, _URL_ENDS[spec.format], lambda body: _in_field(chat_request(body, model), schema_field)
        )
    require_no_schema(spec)
    dimensions = dimensions_for(model, spec.dimensions)
    # Tells the later steps that the answers are vectors, and of which length.
    asked["embed_request"] = {"output_dimensionality": dimensions}
    return OpenAIEncoder(columns, asked, _URL_ENDS[spec.format], lambda body: embed_request(body, dimensions))


def _in_field(request: Json, schema_field: SchemaField) -> Json:
    if schema_field == "response_json_schema" or "response_json_schema" not in request.get("generation_config", {}):
        return request
    try:
        AnswerSchema.of(request["generation_config"]["response_json_schema"])  # a row's own: it may be anything
        return in_field(request, schema_field)
    except InputError as error:
        raise NotConvertibleError(f"response_format.json_schema.schema: {error}") from error
