"""Checked values of a JSON body; each refusal names the field."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Any

from airflow_gemini_batch.engine.json.strict import no_constant

Json = dict[str, Any]


class NotConvertibleError(ValueError):
    """A part of the body has no counterpart; the message names it, for the row's dead letter."""


def read_json(content: str | bytes) -> Any:
    """JSON that can be written again. Raises ValueError or RecursionError for anything else, such as NaN and infinite numbers."""
    return json.loads(content, parse_constant=no_constant, parse_float=_finite)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is beyond the range of a 64-bit float")
    return value


def without_nulls(body: Json) -> Json:
    """Without nulls: a null means the same as an absent field."""
    return {name: value for name, value in body.items() if value is not None}


def text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, name, "a text")
    return value


def number(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(value, name, "a number")
    return value


def integer(value: Any, name: str) -> int:
    """A 32-bit integer, as all of the service's are: it refuses a whole file for a larger one."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**31) <= value < 2**31:
        raise _wrong(value, name, "an integer of 32 bits")
    return value


def boolean(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, name, "true or false")
    return value


def items(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(value, name, "a list")
    return value


def object_of(value: Any, name: str) -> Json:
    if not isinstance(value, dict):
        raise _wrong(value, name, "an object")
    return value


def only(found: Json, known: Collection[str], where: str) -> None:
    """Refuses fields that the conversion would lose. Null and an empty list or object are ignored."""
    for name, value in found.items():
        if name not in known and value not in (None, [], {}):
            raise NotConvertibleError(f"{where}.{name} cannot be converted")


def _wrong(value: Any, name: str, expected: str) -> NotConvertibleError:
    found = "missing" if value is None else f"{str(value)[:80]!r}"
    return NotConvertibleError(f"'{name}' is {found}; expected {expected}")
