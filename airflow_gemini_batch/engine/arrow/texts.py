"""The plain text of Arrow values, as it is put into prompts and keys.

Exact where the value is exact: integers and decimals with all their digits, times in ISO 8601, floats as Python prints
them, lists and structs as JSON. Bytes have no text form and are refused by their type, before any row is read.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

#: The text of one value, None for a null, or the error for a value that has none (invalid UTF-8).
Text = str | None | UnicodeDecodeError

_json = msgspec.json.Encoder(decimal_format="number")
_types = pa.types


def why_no_text(type: pa.DataType) -> str | None:
    """Why values of this type cannot be written as text; None when they can."""
    if _is_bytes(type):
        return "holds bytes"
    if _types.is_union(type) or _types.is_interval(type):
        return f"holds {type} values, which have no text form"
    for child in _children(type):
        if reason := why_no_text(child):
            return reason
    return None


def texts(column: pa.Array) -> list[Text]:
    """One text for each row. Never raises for a type that ``why_no_text`` accepts."""
    if isinstance(column, pa.UuidArray):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if _types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    return _writer(column.type)(column)


def _writer(type: pa.DataType) -> Callable[[pa.Array], list[Text]]:
    for matches, writer in _WRITERS:
        if matches(type):
            return writer
    return _nested


def values_of(column: pa.Array) -> list[Any]:
    """The values as Python objects; an error in place of a value with invalid UTF-8."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        return [_value(value) for value in column]


def _value(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return error


def _integers(column: pa.Array) -> list[Text]:
    return [None if value is None else str(value) for value in column.to_pylist()]


def _booleans(column: pa.Array) -> list[Text]:
    return [None if value is None else ("true" if value else "false") for value in column.to_pylist()]


def _doubles(column: pa.Array) -> list[Text]:
    return [None if value is None else repr(value) for value in column.to_pylist()]


def _short_floats(column: pa.Array) -> list[Text]:
    # Through Arrow's text, which has exactly the digits that a 32-bit float needs: 0.1 and not 0.10000000149011612.
    return [None if text is None else repr(float(text)) for text in column.cast(pa.string()).to_pylist()]


def _decimals(column: pa.Array) -> list[Text]:
    return [None if value is None else format(value, "f") for value in column.to_pylist()]


def _dates(column: pa.Array) -> list[Text]:
    return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]


def _times(column: pa.Array) -> list[Text]:
    return [None if text is None else _iso(text) for text in column.cast(pa.string()).to_pylist()]


def _iso(text: str) -> str:
    """Arrow's ``2026-01-02 03:04:05.000000+0100`` in ISO 8601: ``2026-01-02T03:04:05+01:00``."""
    text = text.replace(" ", "T")
    text = re.sub(r"\.(\d*?)0+(?=\D|$)", lambda match: f".{match[1]}" if match[1] else "", text)
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text) if "T" in text else text


def _durations(column: pa.Array) -> list[Text]:
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[column.type.unit]
    counts = column.cast(pa.int64()).to_pylist()
    return [None if count is None else _iso_duration(count, digits) for count in counts]


def _iso_duration(count: int, digits: int) -> str:
    seconds = format(decimal.Decimal(abs(count)).scaleb(-digits), "f")
    seconds = seconds.rstrip("0").rstrip(".") if "." in seconds else seconds
    return f"{'-' if count < 0 else ''}PT{seconds}S"


def _nested(column: pa.Array) -> list[Text]:
    try:
        return [None if value is None else _json.encode(value).decode() for value in column.to_pylist(**_MAPS)]
    except (UnicodeDecodeError, KeyError, ValueError):
        return [_json_text(value) for value in column]


def _json_text(value: Any) -> Text:
    try:
        content = value.as_py(**_MAPS)
    except UnicodeDecodeError as error:
        return error
    except (KeyError, ValueError):  # a map that holds one key twice
        content = value.as_py()
    return None if content is None else _json.encode(content).decode()


#: A map becomes a JSON object, and an error where it holds a key twice.
_MAPS = {"maps_as_pydicts": "strict"}

_WRITERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[Text]]], ...] = (
    (lambda type: _types.is_string(type) or _types.is_large_string(type) or _types.is_string_view(type), values_of),
    (_types.is_integer, _integers),
    (_types.is_boolean, _booleans),
    (_types.is_float64, _doubles),
    (_types.is_floating, _short_floats),
    (_types.is_decimal, _decimals),
    (_types.is_date, _dates),
    (lambda type: _types.is_timestamp(type) or _types.is_time(type), _times),
    (_types.is_duration, _durations),
    (_types.is_null, lambda column: [None] * len(column)),
)


def _is_bytes(type: pa.DataType) -> bool:
    return bool(
        _types.is_binary(type) or _types.is_large_binary(type) or _types.is_binary_view(type) or _types.is_fixed_size_binary(type)
    )


def _children(type: pa.DataType) -> Iterator[pa.DataType]:
    if isinstance(type, pa.UuidType):
        return
    if isinstance(type, pa.BaseExtensionType):
        yield type.storage_type
    elif _types.is_dictionary(type) or _types.is_run_end_encoded(type):
        yield type.value_type
    else:
        for index in range(type.num_fields):
            yield type.field(index).type
