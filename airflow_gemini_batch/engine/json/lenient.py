"""Untrusted JSON: any type may occur anywhere without raising.

Accepts what strict parsers refuse and services write nevertheless: lone surrogates, NaN, enormous numbers, control characters in
strings, snake_case in place of camelCase. Only text that is not a JSON object raises ValueError, and nesting that is too deep
RecursionError.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from airflow_gemini_batch.engine.arrow.columns import fits_int64


def _integer(digits: str) -> int | None:
    # Python refuses to convert 4,300 digits and more. No count, code or key is that long, and the raw answer keeps them.
    return int(digits) if len(digits) < 1000 else None


_json = json.JSONDecoder(strict=False, parse_int=_integer)
_skip_space = re.compile(r"[ \t\r\n]*").match


class Member(NamedTuple):
    """
    :param text: the value as received.
    """

    name: str
    value: Any
    text: str


def read_object(text: str) -> dict[str, Any]:
    """A JSON object; of members with the same name the last counts. Raises ValueError for anything else."""
    return {member.name: member.value for member in read_members(text)}


def read_members(text: str) -> list[Member]:
    """The members of a JSON object, also those with the same name. Raises ValueError for anything else."""

    def space(position: int) -> int:
        match = _skip_space(text, position)
        return match.end() if match else position

    def unexpected(position: int) -> NoReturn:
        raise json.JSONDecodeError("unexpected character or end", text, position)

    members: list[Member] = []
    position = space(0)
    if text[position : position + 1] != "{":
        unexpected(position)
    position = space(position + 1)
    closed = text[position : position + 1] == "}"
    while not closed:
        name, end = _json.raw_decode(text, position)
        position = space(end)
        if not isinstance(name, str) or text[position : position + 1] != ":":
            unexpected(position)
        start = space(position + 1)
        value, end = _json.raw_decode(text, start)
        members.append(Member(name, value, text[start:end]))
        position = space(end)
        closed = text[position : position + 1] == "}"
        if not closed:
            if text[position : position + 1] != ",":
                unexpected(position)
            position = space(position + 1)
    if space(position + 1) != len(text):
        unexpected(position + 1)
    return members


def read_any(text: bytes) -> Any:
    """Any JSON value, in any encoding; an invalid byte becomes U+FFFD. Raises ValueError or RecursionError."""
    return _json.decode(text.decode(json.detect_encoding(text), "replace"))


def field(value: dict[str, Any], name: str) -> Any:
    """The member of that camelCase name, or of the same name in snake_case."""
    found = value.get(name)
    return value.get(_snake(name)) if found is None else found


@lru_cache(maxsize=64)
def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name)


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str | None:
    return with_valid_unicode(value) if isinstance(value, str) and value else None


def with_valid_unicode(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD: Arrow strings are UTF-8. The raw answer keeps the escapes."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_INT64_TEXT = re.compile(r"-?[0-9]{1,19}")


def as_count(value: Any) -> int | None:
    """A token count: an integer, or an int64 as a string. None where it is neither, or more than Arrow's int64 holds."""
    if isinstance(value, str):
        value = int(value) if _INT64_TEXT.fullmatch(value) else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and fits_int64(value) else None


def as_code(value: Any) -> int | None:
    code = as_count(value)
    return code if code is not None and -(2**31) <= code < 2**31 else None


def shown(value: Any) -> str:
    return with_valid_unicode(json.dumps(value, ensure_ascii=False)[:1000])
