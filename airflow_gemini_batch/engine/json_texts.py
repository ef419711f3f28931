"""JSON Lines as text, for files whose objects hold other JSON that is to be passed on and not to be understood.

Arrow would make one struct type of all objects of a column: it fails where a field is a text in one line and a list in another,
and fills what a line lacks with nulls. Here every column is text: a JSON string is what it says, anything else is its JSON.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import IO

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.blocks import MAX_BLOCK_BYTES, MAX_BLOCK_ROWS
from airflow_gemini_batch.engine.columns import utf8
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.storage import Location

#: Lines that tell which columns there are.
_LOOKED_AT = 1000

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode


class JsonTexts:
    @classmethod
    def schema(cls, location: Location) -> pa.Schema:
        names: dict[str, None] = {}
        with location.open() as file:
            for found, _ in itertools.islice(_objects(location, file), _LOOKED_AT):
                names.update(dict.fromkeys(found))
        return pa.schema([(name, pa.string()) for name in names])

    @classmethod
    def read(cls, location: Location, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, msgspec.Raw]] = []
        size = 0
        with location.open() as file:
            for found, length in _objects(location, file):
                rows.append(found)
                size += length
                if len(rows) >= MAX_BLOCK_ROWS or size >= MAX_BLOCK_BYTES:
                    yield _batch(rows, columns)
                    rows, size = [], 0
        if rows:
            yield _batch(rows, columns)


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


def _batch(rows: list[dict[str, msgspec.Raw]], columns: Sequence[str]) -> pa.RecordBatch:
    arrays = [utf8([_text(row.get(name)) for row in rows]) for name in columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _text(value: msgspec.Raw | None) -> bytes | None:
    raw = b"null" if value is None else bytes(value).strip()
    if raw == b"null":
        return None
    if not raw.startswith(b'"'):
        return raw
    try:
        return _string(raw).encode()
    except msgspec.DecodeError:
        text: str = json.loads(raw)
        return text.encode("utf-8", "surrogatepass")
