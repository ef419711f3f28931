"""``response_schema`` as the user gives it: as plain JSON Schema for the run, and as a field of the request's config."""

from __future__ import annotations

import json
from typing import Any

import pydantic
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.json.strict import no_constant
from airflow_gemini_batch.engine.options import SchemaField
from airflow_gemini_batch.engine.request import sdk_request
from airflow_gemini_batch.engine.shapes.answer_schema import ENUM, JSON, AnswerSchema
from airflow_gemini_batch.engine.shapes.google_schema import google_schema

GOOGLES: SchemaField = "response_schema"


def json_schema(response_schema: Any) -> dict[str, Any]:
    """response_schema as JSON Schema. Raises InputError for one that collecting could not use."""
    if isinstance(response_schema, str):
        schema = _read(response_schema)
    elif isinstance(response_schema, dict):
        schema = response_schema
    else:
        try:
            schema = pydantic.TypeAdapter(response_schema).json_schema()
        except (pydantic.errors.PydanticUserError, TypeError) as error:
            raise InputError(
                "response_schema must be a pydantic model, a list[Model] or a JSON Schema as a dict or as JSON text, "
                f"not {response_schema!r}: {error}"
            ) from error
    try:
        plain: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"response_schema cannot be written as JSON: {error}.") from error
    AnswerSchema.of(plain)
    return plain


def _read(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"response_schema must be a pydantic model, a list[Model] or a JSON Schema as a dict or as JSON text; {text[:100]!r} "
            f"is text and not JSON: {error}."
        ) from error
    if not isinstance(schema, dict):
        raise InputError(f"response_schema is JSON that is not an object: {text[:100]!r}.")
    return schema


def with_schema(config: Any, schema: dict[str, Any]) -> types.GenerateContentConfig:
    """config with the response schema in it, as JSON Schema, which can express everything that pydantic can."""
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


def in_field(request: dict[str, Any], schema_field: SchemaField) -> dict[str, Any]:
    """The written request with its JSON Schema in that field of its config. Raises InputError where Google's form is too small.

    Not left to google-genai, which passes on what the service refuses, such as other formats of text than ``date-time``.
    """
    config = request.get("generation_config", {})
    if schema_field != GOOGLES or "response_json_schema" not in config:
        return request
    others = {name: value for name, value in config.items() if name != "response_json_schema"}
    return {**request, "generation_config": {**others, GOOGLES: google_schema(config["response_json_schema"])}}
