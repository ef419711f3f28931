"""JSON by its standard, where Python's own module accepts more: without NaN and Infinity."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def no_constant(name: str) -> NoReturn:
    """For ``parse_constant``, which gets ``NaN``, ``Infinity`` and ``-Infinity``."""
    raise ValueError(f"{name} is not a JSON number")


def one_line(value: dict[str, Any]) -> bytes:
    """One line, without the newline. Raises TypeError, ValueError or RecursionError for what JSON cannot hold."""
    # json and not msgspec: NaN is an error here and would silently become null there, and integers may be of any size.
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate, which can only be written as an escape
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
