"""Arrow values as Python objects, and what stands for a value that Python cannot hold or that has no text form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class NoText:
    """A value that cannot be written as text. ``reason`` completes "the value …"."""

    reason: str

    @classmethod
    def of(cls, error: UnicodeDecodeError) -> NoText:
        return cls(f"is not valid UTF-8: {error.reason} at byte {error.start}")


#: The text of one value, None for a null.
Text = str | None | NoText


def values_of(column: pa.Array) -> list[Any]:
    """The values as Python objects; a ``NoText`` in place of a value that Python cannot hold."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (ArithmeticError, LookupError, TypeError, ValueError):  # ArrowInvalid is a ValueError, zone errors are LookupErrors
        return [value_of(column[row]) for row in range(len(column))]


def value_of(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return NoText.of(error)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return NoText(f"cannot be read ({error})")
