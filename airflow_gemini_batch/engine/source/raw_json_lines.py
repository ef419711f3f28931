"""JSON Lines whose objects hold other JSON that is passed on without being interpreted.

Arrow would make one struct type of all objects of a column: it fails where a field is a text in one line and a list in another,
and fills what a line lacks with nulls. Here a column has a type of its own only where all its values are numbers that it holds
exactly, or all true or false; else it is text: the content of a JSON string, and for anything else its JSON, token by token.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns as arrow
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.source.blocks import MAX_BLOCK_BYTES, MAX_BLOCK_ROWS

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode

_TEXT, _BOOLEAN, _INTEGER, _DOUBLE = pa.string(), pa.bool_(), pa.int64(), pa.float64()
#: Marks a 64-bit integer that no double holds, while a file's types are found.
_LONG = pa.uint64()
_SETTLED = {None: _TEXT, _LONG: _INTEGER}
_TOGETHER = {frozenset((_INTEGER, _DOUBLE)): _DOUBLE, frozenset((_INTEGER, _LONG)): _LONG}


class RawJsonLines:
    @classmethod
    def schema(cls, location: Location) -> pa.Schema:
        """The types by the whole file, since its last line may still contradict the others."""
        types: dict[str, pa.DataType | None] = {}
        with location.open() as file:
            for found, _ in _objects(location, file):
                for name, value in found.items():
                    known = types.setdefault(name, None)
                    if known is not _TEXT:
                        types[name] = _common(known, _type(bytes(value)))
        return pa.schema([(name, _SETTLED.get(type, type)) for name, type in types.items()])

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
                    yield _batch(rows, wanted, location)
                    rows, size = [], 0
        if rows:
            yield _batch(rows, wanted, location)


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
    if len(raw) > 20 or not arrow.fits_int64(int(raw)):
        return _TEXT
    return _INTEGER if _is_double(int(raw)) else _LONG


def _is_double(integer: int) -> bool:
    return int(float(integer)) == integer


def _common(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    if one is None or other is None or one is other:
        return one or other
    return _TOGETHER.get(frozenset((one, other)), _TEXT)


def _objects(location: Location, file: IO[bytes]) -> Iterator[tuple[dict[str, msgspec.Raw], int]]:
    """Each line's object with the bytes of its line."""
    for number, line in enumerate(uncompressed(location, file), 1):
        if not line.strip():
            continue
        try:
            yield _split(line), len(line)
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            raise no_object(location, number, error) from error


def uncompressed(location: Location, file: IO[bytes]) -> IO[bytes]:
    return gzip.GzipFile(fileobj=file) if location.name.lower().endswith(".gz") else file  # type: ignore[return-value]


def no_object(location: Location, number: int, error: Exception) -> InputError:
    return InputError(f"Cannot read {location} as JSON Lines: line {number} is not a JSON object: {error}")


def _split(line: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _object(line)
    except msgspec.DecodeError:
        # An escaped lone surrogate is valid JSON, and msgspec refuses it.
        found = json.loads(line)
        if not isinstance(found, dict):
            raise
        return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in found.items()}


def _batch(rows: list[dict[str, msgspec.Raw]], fields: Sequence[pa.Field], location: Location) -> pa.RecordBatch:
    arrays = []
    for field in fields:
        values = [bytes(row.get(field.name, b"null")).strip() for row in rows]
        if field.type == _DOUBLE:
            refuse_rounded((int(raw) for raw in values if _type(raw) in (_INTEGER, _LONG)), location, field.name)
        arrays.append(_column(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in fields])


def refuse_rounded(integers: Iterable[int], location: Location, column: str) -> None:
    """Raises InputError where a column of doubles would not hold an integer as it is."""
    for integer in integers:
        if not (arrow.fits_int64(integer) and _is_double(integer)):
            raise InputError(
                f"Cannot read {location} as JSON Lines: the column {column!r} holds the integer {str(integer)[:40]}. Not all "
                "numbers of that column are integers of 64 bits, so all become 64-bit floats, which would round it. "
                "Write the numbers of that column as text."
            )


def _column(values: Sequence[bytes], type: pa.DataType) -> pa.Array:
    if type == _BOOLEAN:
        return arrow.bools([None if raw == b"null" else raw == b"true" for raw in values])
    if type == _INTEGER:
        return arrow.int64s([None if raw == b"null" else int(raw) for raw in values])
    if type == _DOUBLE:
        return arrow.doubles([None if raw == b"null" else float(raw) for raw in values])
    return text_column(values)


def text_column(values: Sequence[bytes]) -> pa.Array:
    """The content of JSON strings, and the JSON of other values; null for null."""
    return arrow.utf8([_text(raw) for raw in values])


def _text(raw: bytes) -> bytes | None:
    if raw == b"null":
        return None
    if not raw.startswith(b'"'):
        return raw
    try:
        return _string(raw).encode()
    except msgspec.DecodeError:
        text: str = json.loads(raw.decode("utf-8", "surrogateescape"), strict=False)
        return b"".join(map(_encoded, text))


def _encoded(character: str) -> bytes:
    """UTF-8, or the byte or the lone surrogate that the JSON holds instead."""
    return character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")
