"""The JSON Schema that a run's answers must satisfy: checked before anything is sent, applied to every answer.

Invariant: a schema that is accepted here can be landed. The request step and the response step make the same AnswerSchema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import jsonschema_rs

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.shapes import schemas

#: The MIME types under which the service follows a schema; the answer of ENUM is the bare word.
JSON, ENUM = "application/json", "text/x.enum"

#: Characters of a validator's message that are shown.
_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """
    :param form: how the values of the answers are stored in the ``parsed`` column.
    :param judged: what answers are validated against.
    :param validator: judges one decoded answer.
    """

    form: schemas.Form
    judged: dict[str, Any]
    validator: jsonschema_rs.Validator

    @classmethod
    def of(cls, schema: dict[str, Any]) -> AnswerSchema:
        """Raises InputError for what is not a JSON Schema, or refers to anything outside of itself."""
        _validator(schema)  # first, so that its error names what is wrong before anything is read from the schema
        judged = schemas.judged(schema)
        return cls(schemas.form_of(schema), judged, _validator(judged))


def finding(error: jsonschema_rs.ValidationError) -> str:
    """What a validator found, with its place: ``$.items[0].price: "x" is not of type "number"``."""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    return f"${place}: {shortened(error.message)}"


def shortened(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[: _MESSAGE_CHARACTERS - 1]}…"


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(
            schema, validate_formats=True, formats=dict(schemas.FORMATS), retriever=_nothing_from_outside
        )
    except jsonschema_rs.ValidationError as error:
        raise InputError(
            f"response_schema is not a JSON Schema that can be used: {finding(error)}. "
            "JSON Schema writes types in lower case. Google's own Schema, with types such as STRING, goes into "
            "config['response_schema'] and makes no parsed column."
        ) from error


def _nothing_from_outside(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside of the schema")
