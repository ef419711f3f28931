"""JSON Lines whose objects hold other JSON that is to be passed on and not to be understood.

Arrow would make one struct type of all objects of a column: it fails where a field is a text in one line and a list in another,
and fills what a line lacks with nulls. Here a column has a type of its own only where all its values are numbers, or all true or
false; else it is text: a JSON string is what it says, anything else is its JSON, token by token.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from typing import IO

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine import columns as arrow
from airflow_gemini_batch.engine.blocks import MAX_BLOCK_BYTES, MAX_BLOCK_ROWS
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.storage import Location

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode

_TEXT, _BOOLEAN, _INTEGER, _DOUBLE = pa.string(), pa.bool_(), pa.int64(), pa.float64()


class JsonTexts:
    @classmethod
    def schema(cls, location: Location) -> pa.Schema:
        """Of the whole file: a type that the last line contradicts would be none."""
        types: dict[str, pa.DataType | None] = {}
        with location.open() as file:
            for found, _ in _objects(location, file):
                for name, value in found.items():
                    known = types.setdefault(name, None)
                    if known is not _TEXT:
                        types[name] = _common(known, _type(bytes(value)))
        return pa.schema([(name, _TEXT if type is None else type) for name, type in types.items()])

    @classmethod
    def read(cls, location: Location, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = [schema.field(name) for name in columns]
        rows: list[dict[str, msgspec.Raw]] = []
        size = 0
        with location.open() as file:
            for found, length in _objects(location, file):
                rows.append(found)
                size += length
                if len(rows) >= MAX_BLOCK_ROWS or size >= MAX_BLOCK_BYTES:
                    yield _batch(rows, wanted)
                    rows, size = [], 0
        if rows:
            yield _batch(rows, wanted)


def _type(raw: bytes) -> pa.DataType | None:
    """What a value is by itself; None for null, which may be anything."""
    if raw == b"null":
        return None
    if raw in (b"true", b"false"):
        return _BOOLEAN
    if raw[:1] not in b"-0123456789":
        return _TEXT
    if raw.strip(b"-0123456789"):
        return _DOUBLE if math.isfinite(float(raw)) else _TEXT
    return _INTEGER if len(raw) < 1000 and arrow.fits_int64(int(raw)) else _TEXT


def _common(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    if one is None or other is None or one is other:
        return one or other
    return _DOUBLE if {one, other} == {_INTEGER, _DOUBLE} else _TEXT


def _objects(location: Location, file: IO[bytes]) -> Iterator[tuple[dict[str, msgspec.Raw], int]]:
    """Each line's object with the bytes of its line."""
    lines: IO[bytes] = gzip.GzipFile(fileobj=file) if location.name.lower().endswith(".gz") else file  # type: ignore[assignment]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _split(line), len(line)
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            raise InputError(f"Cannot read {location} as JSON Lines: line {number} is no JSON object: {error}") from error


def _split(line: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _object(line)
    except msgspec.DecodeError:
        # An escaped lone surrogate is valid JSON, and msgspec refuses it.
        found = json.loads(line)
        if not isinstance(found, dict):
            raise
        return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in found.items()}


def _batch(rows: list[dict[str, msgspec.Raw]], fields: Sequence[pa.Field]) -> pa.RecordBatch:
    arrays = [_column([bytes(row.get(field.name, b"null")).strip() for row in rows], field.type) for field in fields]
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in fields])


def _column(values: Sequence[bytes], type: pa.DataType) -> pa.Array:
    if type == _BOOLEAN:
        return arrow.bools([None if raw == b"null" else raw == b"true" for raw in values])
    if type == _INTEGER:
        return arrow.int64s([None if raw == b"null" else int(raw) for raw in values])
    if type == _DOUBLE:
        return arrow.doubles([None if raw == b"null" else float(raw) for raw in values])
    return arrow.utf8([_text(raw) for raw in values])


def _text(raw: bytes) -> bytes | None:
    if raw == b"null":
        return None
    if not raw.startswith(b'"'):
        return raw
    try:
        return _string(raw).encode()
    except msgspec.DecodeError:
        text: str = json.loads(raw)
        return text.encode("utf-8", "surrogatepass")
