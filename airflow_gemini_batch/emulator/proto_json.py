"""Reading JSON as protobuf does: field names in camelCase or snake_case, one object in place of a list of one, and bytes in
either base64 alphabet."""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import Any

#: A decoded JSON object.
Json = dict[str, Any]


@cache
def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: "_" + capital.group().lower(), name)


def get(message: Json, name: str, default: Any = None) -> Any:
    """The field `name` (in camelCase) in either spelling. JSON null counts as missing."""
    found = message.get(name)
    if found is None and message:
        found = message.get(snake(name))
    return default if found is None else found


def get_object(message: Json, name: str) -> Json:
    found = get(message, name)
    return found if isinstance(found, dict) else {}


def get_list(message: Json, name: str) -> list[Any]:
    found = get(message, name)
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def get_text(message: Json, name: str) -> str:
    found = get(message, name)
    return found if isinstance(found, str) else ""


def get_int(message: Json, name: str) -> int | None:
    """An int64 as a number or, as protobuf writes it, a string. Anything else, or out of range, counts as missing."""
    found = get(message, name)
    try:
        number = None if found is None or isinstance(found, bool) else int(found)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def bytes_of(text: str) -> bytes:
    """Decodes base64 in the standard or the URL-safe alphabet, padded or not. Raises ValueError for anything else."""
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
