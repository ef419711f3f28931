"""The plain text of Arrow values, as it is put into prompts, keys and carried columns.

Exact where the value is exact: integers and decimals with all their digits, times in ISO 8601, floats as Python prints
them, lists and structs as JSON, in which each value reads as it does by itself. Bytes have no text form and are refused by their
type, before any row is read. A type that ``why_no_text`` accepts never raises: a value without a text form is a ``NoText``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import extensions, times
from airflow_gemini_batch.engine.arrow.layouts import (
    is_binary,
    is_encoded,
    is_text,
    items,
    plain_type,
    referred,
    taken,
)
from airflow_gemini_batch.engine.arrow.values import NoText, Text, value_of

_json = msgspec.json.Encoder()
_types = pa.types
_Writer = Callable[[pa.Array], "list[Text]"]


# --- types


def why_no_text(field: pa.Field | pa.DataType) -> str | None:
    """Why values of this type cannot be written as text; None when they can.

    :param field: better than its type alone: its metadata can name an extension type that is not registered.
    """
    if isinstance(field, pa.DataType):
        field = pa.field("", field)
    if reason := extensions.why_unknown(field):
        return reason
    type = field.type
    if (name := extensions.extension_of(type)) is not None:
        return why_no_text(type.storage_type) if name == extensions.INTERVAL else None
    if is_binary(type):
        return "holds bytes"
    if _types.is_union(type):
        return f"holds {type} values, which have no text form"
    if reason := _why_unreadable(type):
        return reason
    for child in _children(type):
        if reason := why_no_text(child):
            return reason
    return None


def why_no_python(type: pa.DataType) -> str | None:
    """Why no value of this type can be a Python object; None when at least some can."""
    if isinstance(type, pa.BaseExtensionType):
        return why_no_python(type.storage_type)
    return _why_unreadable(type) or next(filter(None, (why_no_python(child.type) for child in _children(type))), None)


def _why_unreadable(type: pa.DataType) -> str | None:
    if _types.is_timestamp(type) and not times.is_known_zone(type.tz):
        return f"holds times in the time zone {type.tz!r}, which is not known here"
    if _types.is_struct(type) and (twice := twice_named(type)):
        return f"holds structs with more than one field called {twice!r}"
    return None


def twice_named(type: pa.DataType) -> str | None:
    """The first name that two fields of the struct have."""
    counts = Counter(type.field(index).name for index in range(type.num_fields))
    return next((name for name, count in counts.items() if count > 1), None)


def _children(type: pa.DataType) -> Iterator[pa.Field]:
    if is_encoded(type):
        yield pa.field("", type.value_type)
    else:
        for index in range(type.num_fields):
            yield type.field(index)


# --- columns


def texts(column: pa.Array) -> list[Text]:
    """One text for each row. Never raises for a type that ``why_no_text`` accepts."""
    return _write(column, nested=False)


def _write(column: pa.Array, *, nested: bool) -> list[Text]:
    """:param nested: as JSON, to stand in a list or an object; None still stands for null."""
    type = column.type
    if is_encoded(type):
        values, places = referred(column)
        return _write(taken(values, places), nested=nested)
    if (name := extensions.extension_of(type)) is not None:
        written = _EXTENSIONS[name](column)
        return _IN_JSON.get(name, _quoted)(written) if nested else written
    for matches, writer, is_quoted in _LEAVES:
        if matches(type):
            written = writer(column)
            return _quoted(written) if nested and is_quoted else written
    if _types.is_floating(type):
        written = _doubles(column) if _types.is_float64(type) else _short_floats(column)
        return [None if text in _NOT_JSON else text for text in written] if nested else written
    if _types.is_struct(type):
        return _structs(column)
    return _maps(column) if _types.is_map(type) else _lists(column)


def _strings(column: pa.Array) -> list[Text]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        return [value_of(value) for value in column]


# --- numbers and times


def _integers(column: pa.Array) -> list[Text]:
    return [None if value is None else str(value) for value in column.to_pylist()]


def _booleans(column: pa.Array) -> list[Text]:
    return [None if value is None else ("true" if value else "false") for value in column.to_pylist()]


def _doubles(column: pa.Array) -> list[Text]:
    return [None if value is None else repr(value) for value in column.to_pylist()]


def _short_floats(column: pa.Array) -> list[Text]:
    # Through Arrow's text, which has exactly the digits that a 32-bit float needs: 0.1 and not 0.10000000149011612.
    return [None if text is None else repr(float(text)) for text in column.cast(pa.string()).to_pylist()]


#: JSON has no such numbers; a null stands for them.
_NOT_JSON = {"nan", "inf", "-inf"}


def _decimals(column: pa.Array) -> list[Text]:
    return [None if value is None else format(value, "f") for value in column.to_pylist()]


# --- extension types


def _bool8s(column: pa.Array) -> list[Text]:
    return [None if value is None else ("true" if value else "false") for value in column.storage.to_pylist()]


def _uuids(column: pa.Array) -> list[Text]:
    return [None if value is None else str(value) for value in column.to_pylist()]


def _periods(column: pa.Array) -> list[Text]:
    import pandas

    written: dict[int | None, Text] = {None: None}
    ordinals = column.storage.to_pylist()
    for ordinal in set(ordinals) - {None}:
        try:
            written[ordinal] = str(pandas.Period(ordinal=ordinal, freq=column.type.freq))
        except (ValueError, OverflowError):
            written[ordinal] = times.TOO_FAR
    return [written[ordinal] for ordinal in ordinals]


def _pandas_intervals(column: pa.Array) -> list[Text]:
    """As pandas prints them: ``(0, 1]``."""
    closed = column.type.closed
    opening = "[" if closed in ("left", "both") else "("
    closing = "]" if closed in ("right", "both") else ")"
    ends = zip(*(texts(column.storage.field(name)) for name in ("left", "right")), strict=True)
    pairs = zip(column.is_valid().to_pylist(), ends, strict=True)
    return [_no_text(pair) or f"{opening}{pair[0]}, {pair[1]}{closing}" if valid else None for valid, pair in pairs]


_EXTENSIONS: dict[str, _Writer] = {
    extensions.BOOL8: _bool8s,
    extensions.UUID: _uuids,
    extensions.JSON: lambda column: _write(column.storage, nested=False),
    extensions.PERIOD: _periods,
    extensions.INTERVAL: _pandas_intervals,
}


# --- nested values, as JSON


def _quoted(written: Sequence[Text]) -> list[Text]:
    return [_json.encode(text).decode() if isinstance(text, str) else text for text in written]


def _nested_json(written: Sequence[Text]) -> list[Text]:
    """The texts of a JSON column: as they are where they are JSON."""
    return [text if isinstance(text, str) and _is_json(text) else _quoted([text])[0] for text in written]


#: How the text of an extension type stands in JSON, where not as a string.
_IN_JSON: dict[str, Callable[[list[Text]], list[Text]]] = {extensions.BOOL8: list, extensions.JSON: _nested_json}


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _no_text(parts: Sequence[Text]) -> NoText | None:
    return next((part for part in parts if isinstance(part, NoText)), None)


def _lists(column: pa.Array) -> list[Text]:
    values, lengths = items(column)
    written = _write(values, nested=True)
    return [_array(row) for row in _rows(column, written, lengths)]


def _rows(column: pa.Array, written: list[Any], lengths: Any) -> Iterator[list[Any] | None]:
    """The items of each row; None for a null."""
    start = 0
    for length, valid in zip(lengths.tolist(), column.is_valid().to_pylist(), strict=True):
        yield written[start : start + length] if valid else None
        start += length


def _array(row: Sequence[Text] | None) -> Text:
    if row is None:
        return None
    return _no_text(row) or "[" + ",".join([text if isinstance(text, str) else "null" for text in row]) + "]"


def _structs(column: pa.Array) -> list[Text]:
    type = column.type
    names = [_json.encode(type.field(index).name).decode() for index in range(type.num_fields)]
    children = [_write(column.field(index), nested=True) for index in range(type.num_fields)]
    rows = zip(*children, strict=True) if children else itertools.repeat((), len(column))
    valid = column.is_valid().to_pylist()
    return [_object(names, row) if is_valid else None for is_valid, row in zip(valid, rows, strict=True)]


def _object(names: Sequence[str], row: Sequence[Text]) -> Text:
    values = zip(names, row, strict=True)
    return _no_text(row) or "{" + ",".join([f"{name}:{'null' if text is None else text}" for name, text in values]) + "}"


def _maps(column: pa.Array) -> list[Text]:
    """A map becomes a JSON object, and a list of pairs where its keys are not texts or numbers, or hold one twice."""
    entries, lengths = items(column)
    keys, values = entries.field(0), _write(entries.field(1), nested=True)
    in_lists = _rows(column, _write(keys, nested=True), lengths)
    if _types.is_nested(plain_type(keys.type)):
        in_objects: Iterator[list[Any] | None] = itertools.repeat(None)
    else:
        in_objects = _rows(column, _quoted(_write(keys, nested=False)), lengths)
    return [_map(*row) for row in zip(in_objects, in_lists, _rows(column, values, lengths), strict=False)]


def _map(names: list[Text] | None, keys: list[Text] | None, values: list[Text] | None) -> Text:
    if keys is None or values is None:
        return None
    if no_text := _no_text(keys):
        return no_text
    if names is not None and len(set(names)) == len(names):
        return _object([str(name) for name in names], values)
    return _array([_array(pair) for pair in zip(keys, values, strict=True)])


#: Type, writer, and whether the text is a string where it stands in JSON.
_LEAVES: tuple[tuple[Callable[[pa.DataType], bool], _Writer, bool], ...] = (
    (is_text, _strings, True),
    (_types.is_integer, _integers, False),
    (_types.is_boolean, _booleans, False),
    (_types.is_decimal, _decimals, False),
    (_types.is_date, times.dates, True),
    (_types.is_timestamp, times.timestamps, True),
    (_types.is_time, times.times, True),
    (_types.is_duration, times.durations, True),
    (_types.is_interval, times.intervals, True),
    (_types.is_null, lambda column: [None] * len(column), False),
)
