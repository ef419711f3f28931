"""Reading request bodies and writing answers as the service's front end does."""

from __future__ import annotations

import ast
import json
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.proto_json import Json

#: The error for JSON that is nested more deeply than Python's recursion limit.
TOO_DEEP = "message is nested too deeply"


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, media_type="application/json; charset=UTF-8")


def to_json(value: Any) -> bytes:
    """Compact UTF-8. Non-ASCII is escaped only if the value has a lone surrogate, which UTF-8 cannot encode."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def from_json(text: bytes) -> Any:
    """Decodes any JSON, including lone surrogates such as `\\ud800`. Raises ValueError, also for NaN and Infinity."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


async def read_object(request: Request, most: int | None = None) -> Json:
    """The call's JSON body as a dict; an empty body is `{}`. Raises a Refusal for anything else.

    :param most: a body of this many bytes or more is refused. Default: no limit.

    Single-quoted strings are accepted, because curl samples in Google's documentation use them.
    """
    return parse_object(await _read(request, most))


async def _read(request: Request, most: int | None) -> bytes:
    text = bytearray()
    async for block in request.stream():
        text += block
        if most is not None and len(text) >= most:
            raise refusals.payload_too_large(most)
    return bytes(text)


def parse_object(text: bytes) -> Json:
    if not text.strip():
        return {}
    try:
        found = from_json(text)
    except ValueError as error:
        found = _single_quoted(text)
        if found is None:
            raise refusals.invalid_argument(f"Invalid JSON payload received. {error}") from error
    if not isinstance(found, dict):
        raise refusals.invalid_argument("Invalid JSON payload received. Root element must be a message.")
    if rb"\ud" in text.lower() and _has_lone_surrogates(found):
        raise refusals.invalid_argument("Invalid JSON payload received. A lone surrogate is not valid Unicode text.")
    return found


def header_number(request: Request, name: str) -> int | None:
    """A header's value as a number; None without the header. Raises a Refusal for anything but digits."""
    text = request.headers.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise refusals.invalid_argument(f"Invalid value for the header {name}: {text!r} is not a number of bytes.")
    return int(text)


def page_size_of(request: Request, default: int, most: int) -> int:
    """The requested page size, at most `most`; `default` for none or 0."""
    text = request.query_params.get("pageSize") or request.query_params.get("page_size") or "0"
    try:
        size = int(text)
    except ValueError:
        raise refusals.invalid_argument(f"Invalid value at 'page_size' (TYPE_INT32), \"{text}\"") from None
    if size < 0:
        raise refusals.invalid_argument("page_size must not be negative.")
    return min(size or default, most)


def _single_quoted(text: bytes) -> Any:
    try:
        return ast.literal_eval(text.decode())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _has_lone_surrogates(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")
