"""JSON Lines as Arrow batches, with the types of the whole file.

The file is read twice: once for its types, which its last line may still change, and once for its rows. Both times one block of
lines is in memory. A column whose values have no common type is text: the content of strings, and the JSON of anything else.
Integers and fractions become doubles, and an integer that no double holds is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import IO, Any

import pyarrow as pa
import pyarrow.json as pa_json

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.source.raw_json_lines import no_object, refuse_rounded, text_column, uncompressed

#: Enough that Arrow's parser is fast, little enough to hold some in memory. A longer line is read whole.
BLOCK_BYTES = 16 << 20

_types = pa.types


class JsonLines:
    @classmethod
    def schema(cls, location: Location) -> pa.Schema:
        types: dict[str, pa.DataType] = {}
        for first_line, block in _blocks(location):
            for name, type in _types_of(block, location, first_line).items():
                types[name] = _column_type(types.get(name, pa.null()), type)
        return pa.schema([(name, _without_null_items(type)) for name, type in types.items()])

    @classmethod
    def read(cls, location: Location, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = pa.schema([schema.field(name) for name in columns])
        for first_line, block in _blocks(location):
            _require_exact(block, location, first_line, wanted)
            try:
                table = _parsed(block, wanted)
            except pa.ArrowInvalid:
                table = _with_texts(block, location, first_line, wanted)
            yield from table.select(list(columns)).to_batches()


def _parsed(block: bytes, schema: pa.Schema | None) -> pa.Table:
    behavior = "infer" if schema is None else "ignore"
    parsing = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=behavior)
    reading = pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    return pa_json.read_json(pa.BufferReader(block), read_options=reading, parse_options=parsing)


def _with_texts(block: bytes, location: Location, first_line: int, wanted: pa.Schema) -> pa.Table:
    """The rows of a block in which columns of text hold other values too."""
    typed = pa.schema([field for field in wanted if not _types.is_string(field.type)])
    rows = [row for _, row in _objects(block, location, first_line)]
    found = _parsed(block, typed) if len(typed) else None
    arrays = []
    for field in wanted:
        if _types.is_string(field.type):
            arrays.append(text_column([_raw(row.get(field.name)) for row in rows]))
        elif found is not None:
            arrays.append(found.column(field.name))
    return pa.table(arrays, names=wanted.names)


def _raw(value: _Raw | None) -> bytes:
    return b"null" if value is None else value.text


# --- blocks of lines


def _blocks(location: Location) -> Iterator[tuple[int, bytes]]:
    """Whole lines, some megabytes at a time, with the number of the first one. Lone surrogates are bytes that are not UTF-8."""
    with location.open() as opened:
        file = uncompressed(location, opened)
        line, left = 1, _require_utf8(location, file)
        while read := left or file.read(BLOCK_BYTES):
            left = b""
            block = read + (b"" if read.endswith(b"\n") else file.readline())
            if block.strip():
                yield line, _without_lone_surrogates(block if block.endswith(b"\n") else block + b"\n")
            line += block.count(b"\n")


def _require_utf8(location: Location, file: IO[bytes]) -> bytes:
    """The beginning of the file, without a mark of UTF-8. Raises InputError for UTF-16 and UTF-32."""
    begin = file.read(BLOCK_BYTES)
    refuse_utf16(location, begin)
    return begin.removeprefix(b"\xef\xbb\xbf")


def refuse_utf16(location: Location, begin: bytes) -> None:
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in begin[:4]:
        raise InputError(
            f"{location} is in UTF-16 or UTF-32; expected UTF-8. Convert it, for example with: iconv -f UTF-16 -t UTF-8 IN > OUT"
        )


_LONE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_ESCAPE = re.compile(rb"\\(?:u([dD][89abAB]..)\\u([dD][c-fC-F]..)|u([dD][89a-fA-F]..)|.)", re.DOTALL)


def _without_lone_surrogates(block: bytes) -> bytes:
    """Arrow refuses a whole block for an escaped lone surrogate. As the bytes of one it concerns its own row alone."""
    return _ESCAPE.sub(_as_bytes, block) if _LONE.search(block) else block


def _as_bytes(escape: re.Match[bytes]) -> bytes:
    alone = escape[3]
    return escape[0] if alone is None else chr(int(alone, 16)).encode("utf-8", "surrogatepass")


# --- types


class _ConflictError(Exception):
    """Two values have no common type."""


def _types_of(block: bytes, location: Location, first_line: int) -> dict[str, pa.DataType]:
    try:
        return {field.name: _without_guesses(field.type) for field in _parsed(block, None).schema}
    except (pa.ArrowInvalid, IndexError):  # values of one column have different types, or a line is not JSON
        types: dict[str, pa.DataType] = {}
        for _, row in _objects(block, location, first_line):
            for name, value in row.items():
                types[name] = _column_type(types.get(name, pa.null()), value.type)
        return types


def _column_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    try:
        return _common(one, other)
    except _ConflictError:
        return pa.string()


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or _types.is_null(other):
        return one
    if _types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if _types.is_list(one) and _types.is_list(other):
        return pa.list_(_common(one.value_type, other.value_type))
    if _types.is_struct(one) and _types.is_struct(other):
        types = {field.name: field.type for field in one}
        for field in other:
            types[field.name] = _common(types.get(field.name, pa.null()), field.type)
        return pa.struct(list(types.items()))
    raise _ConflictError


class _Raw:
    """A value of a line that Arrow does not read, with its JSON as written."""

    __slots__ = ("text", "value")

    def __init__(self, text: bytes, value: Any) -> None:
        self.text = text
        self.value = value

    @property
    def type(self) -> pa.DataType:
        try:
            return _type_of(self.value)
        except _ConflictError:
            return pa.string()


def _type_of(value: Any) -> pa.DataType:
    if isinstance(value, dict):
        return pa.struct([(name, _type_of(inner)) for name, inner in value.items()])
    if isinstance(value, list):
        return pa.list_(reduce(_common, map(_type_of, value), pa.null()))
    return _SCALARS[type(value)] if not isinstance(value, int) or -(2**63) <= value < 2**63 else pa.float64()


_SCALARS = {type(None): pa.null(), bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def _objects(block: bytes, location: Location, first_line: int) -> Iterator[tuple[int, dict[str, _Raw]]]:
    """The members of each line's object, and the number of the line."""
    for number, line in enumerate(block.split(b"\n"), first_line):
        if not line.strip():
            continue
        yield number, {name: _Raw(text, value) for name, (text, value) in _members(line, location, number).items()}


def _members(line: bytes, location: Location, number: int) -> dict[str, tuple[bytes, Any]]:
    from airflow_gemini_batch.engine.json.lenient import read_members

    try:
        members = read_members(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise no_object(location, number, error) from error
    return {member.name: (member.text.encode("utf-8", "surrogateescape"), member.value) for member in members}


def _without_null_items(type: pa.DataType) -> pa.DataType:
    """Arrow's parser fails for two nulls in a list of nulls (IndexError, seen in pyarrow 26): such a list is one of strings."""
    if _types.is_list(type):
        return pa.list_(pa.string() if _types.is_null(type.value_type) else _without_null_items(type.value_type))
    if _types.is_struct(type):
        return pa.struct([pa.field(field.name, _without_null_items(field.type)) for field in type])
    return type


def _without_guesses(type: pa.DataType) -> pa.DataType:
    """Arrow reads a JSON string that looks like a time as a time; here it stays a string."""
    if _types.is_timestamp(type):
        return pa.string()
    if _types.is_list(type):
        return pa.list_(_without_guesses(type.value_type))
    if _types.is_struct(type):
        return pa.struct([pa.field(type.field(i).name, _without_guesses(type.field(i).type)) for i in range(type.num_fields)])
    return type


# --- integers that Arrow would round

#: Integers of fewer digits fit into a double. Digits after a decimal point do not count.
_LONG_INTEGER = re.compile(rb"(?<![.\d])\d{16}")


def _require_exact(block: bytes, location: Location, first_line: int, wanted: pa.Schema) -> None:
    """Arrow reads integers beyond 64 bits, and integers beside fractions, as doubles and rounds those that do not fit."""
    fields = [field for field in wanted if _holds_doubles(field.type)]
    if not fields or not _LONG_INTEGER.search(block):
        return
    for number, line in enumerate(block.split(b"\n"), first_line):
        if not _LONG_INTEGER.search(line):
            continue
        try:
            found = json.loads(line.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise no_object(location, number, error) from error
        for field in fields if isinstance(found, dict) else ():
            refuse_rounded(_integers(found.get(field.name), field.type), location, field.name)


def _holds_doubles(type: pa.DataType) -> bool:
    return bool(_types.is_float64(type)) or any(_holds_doubles(type.field(index).type) for index in range(type.num_fields))


def _integers(value: Any, type: pa.DataType) -> Iterator[int]:
    """The integers at places whose type is a double."""
    if isinstance(value, list) and _types.is_list(type):
        for item in value:
            yield from _integers(item, type.value_type)
    elif isinstance(value, dict) and _types.is_struct(type):
        for field in type:
            yield from _integers(value.get(field.name), field.type)
    elif isinstance(value, int) and _types.is_float64(type):
        yield value
