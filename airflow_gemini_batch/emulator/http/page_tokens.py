"""Opaque page tokens: the number of the next page and the cursor where it begins."""

from __future__ import annotations

import base64

import msgspec

from airflow_gemini_batch.emulator.http import refusals

#: The position of an item in the order of a listing.
Cursor = tuple[int, ...]


def next_token(page: int, cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([page, *cursor])).decode().rstrip("=")


def open_token(token: str | None, start: Cursor) -> tuple[int, Cursor]:
    """The number of the page (from 1) and the cursor of the last item before it; `start` for the first page.

    Raises a Refusal for an invalid token.
    """
    if not token:
        return 1, start
    try:
        page, *cursor = msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=list[int])
    except (ValueError, msgspec.DecodeError):
        raise refusals.invalid_argument("page_token is invalid.") from None
    if len(cursor) != len(start) or not all(abs(number) < 2**63 for number in (page, *cursor)):
        raise refusals.invalid_argument("page_token is invalid.")
    return page, tuple(cursor)
