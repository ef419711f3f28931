"""Arrow values as Python objects, and what stands for a value that Python cannot hold or that has no text form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.layouts import converted, plain_type


@dataclass(frozen=True, slots=True)
class NoText:
    """A value that cannot be written as text. ``reason`` completes "the value …"."""

    reason: str

    @classmethod
    def of(cls, error: UnicodeDecodeError) -> NoText:
        return cls(f"is not valid UTF-8: {explain_bytes(error)}")


def explain_bytes(error: UnicodeDecodeError) -> str:
    """What is wrong with the bytes of a text: a lone surrogate, or probably another encoding, which is said by name."""
    found = error.object[error.start : error.start + 2]
    where = f"{error.reason} at byte {error.start}"
    if _LONE_SURROGATE.match(found):
        return f"{where}; it is half of a surrogate pair, which an emoji that was cut leaves"
    if (letter := found[:1].decode("cp1252", "replace")) not in _NOT_CP1252:
        return (
            f"{where}; in Windows-1252 (cp1252) or Latin-1 it would be {letter!r}: if the file is in that "
            "encoding, convert it, for example with: iconv -f CP1252 -t UTF-8 IN > OUT"
        )
    return where


#: What that encoding does not have, and the byte FF, which hardly any text has but much binary data.
_NOT_CP1252 = "\ufffdÿ"
_LONE_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")


#: Of times too far away, digits that Python's times lack, unknown zones (LookupError), and what Arrow itself refuses.
_UNREADABLE = (ArithmeticError, LookupError, TypeError, ValueError, pa.ArrowException)

#: The text of one value, None for a null.
Text = str | None | NoText


def values_of(column: pa.Array) -> list[Any]:
    """The values as Python objects; a ``NoText`` in place of a value that Python cannot hold."""
    try:
        values: list[Any] = column.to_pylist()
    except _UNREADABLE:
        values = [value_of(column[row]) for row in range(len(column))]
    if "time64[ns]" in str(column.type) and _loses_nanoseconds(column):
        for row in range(len(column)):
            if not isinstance(values[row], NoText) and _loses_nanoseconds(column.slice(row, 1)):
                values[row] = NoText("is a time of day with nanoseconds, which Python's times do not have")
    return values


def _loses_nanoseconds(column: pa.Array) -> bool:
    """Whether Python's times would silently lose digits: Arrow raises no error for times of day."""

    def leaf(one: pa.Array, type: pa.DataType) -> pa.Array:
        if one.type == pa.time64("ns"):
            one.cast(pa.time64("us"))
        return one if one.type == type else one.cast(type)

    try:
        converted(column, plain_type(column.type), leaf, every_leaf=True)
    except pa.ArrowInvalid:
        return True
    return False


def value_of(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return NoText.of(error)
    except _UNREADABLE as error:
        return NoText(f"cannot be read ({error})")
