"""Constant pieces of JSON with the values of columns between them: how a text with placeholders becomes a request a row.

Whoever writes the request puts a mark where a text with placeholders belongs; it is cut there once. Per row, strings are
escaped and joined, and nothing else.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.asking import placeholders
from airflow_gemini_batch.engine.asking.placeholders import Template
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.texts import texts, why_no_text


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row of which no request can be made, and why, in a sentence for the dead letter."""

    message: str


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


def mark() -> str:
    """Stands in for a text while a request is written. Random, so that no text can hold it by chance."""
    return f"mark-{secrets.token_hex(16)}"


def read_template(text: Any, argument: str, schema: pa.Schema) -> Template:
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


def cut_at(
    written: Mapping[str, Any], templates: Mapping[str, Template]
) -> tuple[tuple[bytes, ...], tuple[str, ...], dict[str, Any]]:
    """The request as constant pieces, the columns between them, and the request without what stands at the marks.

    :param templates: by the mark that stands where the template belongs.
    """
    try:
        content = json.dumps(written, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        pieces, values = _cut(content, templates)
    except ValueError as error:  # UnicodeEncodeError is one
        raise InputError(f"The request cannot be written as JSON in UTF-8: {error}.") from error
    for one in templates:
        content = content.replace(one.encode(), b"")
    return pieces, values, json.loads(content)


def _cut(content: bytes, templates: Mapping[str, Template]) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Cut the written request at the marks and put the templates' own texts, escaped, where they belong."""
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
