"""Constant pieces of JSON with column values between them: how a text with placeholders becomes a request for each row.

The request is written with a mark in place of each text with placeholders, and cut at the marks once. Per row, strings are only
escaped and joined.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.arrow.texts import texts, why_no_text
from airflow_gemini_batch.engine.arrow.values import NoText
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request import placeholders
from airflow_gemini_batch.engine.request.encoded import Encoded, escaped, joined
from airflow_gemini_batch.engine.request.placeholders import Template


@dataclass(frozen=True, slots=True)
class TemplateEncoder:
    """Constant pieces of JSON with the values of columns between them."""

    pieces: tuple[bytes, ...]
    values: tuple[str, ...]
    spec: dict[str, Any]
    any_thread: ClassVar[bool] = True

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.values))

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        problems: dict[int, str] = {}
        inside = {name: _inside(name, batch.column(name), problems) for name in self.columns}
        between: list[bytes | pa.Array] = [self.pieces[0]]
        for name, piece in zip(self.values, self.pieces[1:], strict=True):
            between += [inside[name], piece]
        return Encoded(joined(*between, length=batch.num_rows), problems)


def _inside(name: str, column: pa.Array, problems: dict[int, str]) -> pa.Array:
    """The insides of JSON strings; null for a row that has none, and the reason in ``problems``."""
    reasons: dict[int, str] = {}
    if not _is_sound_text(column):
        values = texts(column)
        for row, value in enumerate(values):
            if isinstance(value, NoText):
                reasons[row] = value.reason
        column = columns.strings([value if isinstance(value, str) else None for value in values])
    if column.null_count:
        for row, is_null in enumerate(column.is_null().to_pylist()):
            if is_null:
                reasons.setdefault(row, "is null")
    for row, reason in reasons.items():
        earlier = f"{problems[row]}; " if row in problems else ""
        problems[row] = f"{earlier}placeholder ${{{name}}} {reason}"
    return escaped(column)


def _is_sound_text(column: pa.Array) -> bool:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


_strings = msgspec.json.Encoder()


def mark() -> str:
    """Stands in for a text while a request is written. Random, so that no text contains it by chance."""
    return f"mark-{secrets.token_hex(16)}"


def read_template(text: Any, argument: str, schema: pa.Schema) -> Template:
    if not isinstance(text, str):
        raise InputError(f"{argument} must be a string, not {type(text).__name__}.")
    template = placeholders.parse(text, argument=argument)
    require_columns(template.columns, schema, by=argument, hint=" Write $$ for a literal dollar sign.")
    for name in template.columns:
        if reason := why_no_text(schema.field(name)):
            raise InputError(
                f"{argument} names the column {name!r}, which {reason} (type {schema.field(name).type}). "
                "Only values with a text form can be inserted: cast or decode the column first."
            )
    return template


def cut_at(
    written: Mapping[str, Any], templates: Mapping[str, Template], shown: Mapping[str, str] | None = None
) -> tuple[tuple[bytes, ...], tuple[str, ...], dict[str, Any]]:
    """The request as constant pieces, the columns between them, and the request without what stands at the marks.

    :param templates: by the mark that stands where the template belongs.
    :param shown: mark -> what the request without templates has there. Default: nothing.
    """
    try:
        content = json.dumps(written, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        pieces, values = _cut(content, templates)
    except ValueError as error:  # UnicodeEncodeError is one
        raise InputError(f"The request cannot be written as JSON in UTF-8: {error}.") from error
    for one in templates:
        content = content.replace(one.encode(), _strings.encode((shown or {}).get(one, ""))[1:-1])
    return pieces, values, json.loads(content)


def _cut(content: bytes, templates: Mapping[str, Template]) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Cut the written request at the marks and insert the templates' own texts, escaped."""
    pieces: list[bytes] = [b""]
    values: list[str] = []
    pattern = "|".join(map(re.escape, templates)).encode()
    end = 0
    for mark in re.finditer(pattern, content):
        pieces[-1] += content[end : mark.start()]
        end = mark.end()
        template = templates[mark[0].decode()]
        first, *rest = (_strings.encode(text)[1:-1] for text in template.texts)
        pieces[-1] += first
        pieces.extend(rest)
        values.extend(template.columns)
    pieces[-1] += content[end:]
    return tuple(pieces), tuple(values)
