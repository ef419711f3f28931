"""Page tokens: where the next page begins, in a form that tells a caller nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

from airflow_gemini_batch.emulator import refusals


def next_token(page: int, cursor: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([page, cursor]).encode()).decode().rstrip("=")


def open_token(token: str | None) -> tuple[int, Any]:
    """The number of the page asked for (from 1) and the last item before it, None at the beginning."""
    if not token:
        return 1, None
    try:
        page, cursor = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(page), cursor
    except (ValueError, TypeError):
        raise refusals.invalid_argument("page_token is invalid.") from None
