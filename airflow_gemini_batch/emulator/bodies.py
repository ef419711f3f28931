"""Reading request bodies and writing answers the way the service's front end does."""

from __future__ import annotations

import ast
import json
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from airflow_gemini_batch.emulator import refusals
from airflow_gemini_batch.emulator.spelling import Json


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, media_type="application/json; charset=UTF-8")


def to_json(value: Any) -> bytes:
    """Compact UTF-8; only a value that UTF-8 cannot hold (a lone surrogate) is escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def from_json(text: bytes) -> Any:
    """Any JSON, lone surrogates as `\\ud800` included. Raises ValueError; NaN and Infinity are no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(text, parse_constant=_no_constant)


async def read_object(request: Request) -> Json:
    """The call's JSON body. An empty one is `{}`; single quotes pass, since the docs' curl samples have them."""
    text = await request.body()
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
    return found


def page_size_of(request: Request, default: int, most: int) -> int:
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


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")
