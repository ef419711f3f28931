"""Repeats: each row is sent several times, and (key, repeat) is what is unique.

A run keeps one text for both, the wire key, in its requests, its inputs and all that is compared with them: the key, ``#`` and
the number of the repeat from 0. In the tables they are two columns. The last ``#`` divides them, so keys may hold any.
A run without repeats has neither: its wire keys are its keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.errors import InputError

#: The column of both tables, before the carried ones.
REPEAT = pa.field("repeat", pa.int32())

#: More answers to one request say nothing more about it.
MOST = 1000


def require_repeats(repeats: Any) -> None:
    """Raise InputError unless it is a number of repeats."""
    if not isinstance(repeats, int) or isinstance(repeats, bool) or not 1 <= repeats <= MOST:
        raise InputError(f"repeats is {repeats!r}; expected a whole number from 1 to {MOST:,}.")


def wire_key(key: str, repeat: int) -> str:
    return f"{key}#{repeat}"


def key_of(wire: str) -> str:
    return wire.rpartition("#")[0]


def keys_of(wires: pa.Array) -> pa.Array:
    """The keys of wire keys."""
    return pc.replace_substring_regex(wires, pattern=r"#[0-9]+$", replacement="")


def wire_keys_of(rows: pa.RecordBatch | pa.Table, repeats: int) -> Any:
    """The wire keys of rows of one of the tables."""
    keys = rows.column("key")
    return keys if repeats == 1 else pc.binary_join_element_wise(keys, rows.column(REPEAT.name).cast(pa.string()), "#")


def key_columns(repeats: int) -> list[str]:
    """The columns that tell the rows of a table apart, which ``wire_keys_of`` needs."""
    return ["key"] if repeats == 1 else ["key", REPEAT.name]


def places_of(rows: int, repeats: int) -> Iterator[tuple[int, Any, Any]]:
    """The rows of a block, each as often as it is sent, in pieces that are no longer than the block: the number of the first one,
    the row that each is made of, and its repeat."""
    for first in range(0, rows * repeats, max(rows, 1)):
        numbers = np.arange(first, first + rows)
        yield first, numbers // repeats, (numbers % repeats).astype(np.int32)


def repeated(keys: Sequence[str], of_row: Any, repeat: Any) -> list[str]:
    """The wire keys of a piece."""
    return [wire_key(keys[row], number) for row, number in zip(of_row.tolist(), repeat.tolist(), strict=True)]
