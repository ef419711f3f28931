"""Arrow columns of every type, alone and inside every type that holds others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import reject
from hypothesis import strategies as st
from pandas.core.arrays.arrow.extension_types import ArrowIntervalType, ArrowPeriodType


def _from_int64(type: pa.DataType, values: Sequence[int | None]) -> pa.Array:
    width = pa.int32() if type.bit_width == 32 else pa.int64()
    return pa.array(values, width).view(type)


def _of(type: pa.DataType, *values: Any) -> tuple[pa.DataType, Callable[[], pa.Array]]:
    return type, lambda: pa.array([*values, None], type)


def _time(type: pa.DataType, *values: int) -> tuple[pa.DataType, Callable[[], pa.Array]]:
    return type, lambda: _from_int64(type, [*values, None])


def _extension(type: pa.DataType, storage: pa.Array) -> tuple[pa.DataType, Callable[[], pa.Array]]:
    return type, lambda: pa.ExtensionArray.from_storage(type, storage)


#: One of each type; its column has a null, and values at the edges of the type.
LEAVES: list[tuple[pa.DataType, Callable[[], pa.Array]]] = [
    _of(pa.null()),
    _of(pa.bool_(), True, False),
    *(_of(type, 1, 2 ** (type.bit_width - 1) - 1) for type in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *(_of(type, 1, 2**type.bit_width - 1) for type in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    (pa.float16(), lambda: pa.array([np.float16(0.1), np.float16("inf"), None], pa.float16())),
    *(_of(type, 0.1, float("inf"), -0.0) for type in (pa.float32(), pa.float64())),
    *(_of(type, 1, 10) for type in (pa.decimal32(5, 2), pa.decimal64(12, 2), pa.decimal128(20, 5), pa.decimal256(20, 2))),
    _of(pa.decimal256(60, 2), 10**50),
    _of(pa.decimal128(5, -3), 1000),
    *(_of(type, "é", "", '"\\\n') for type in (pa.string(), pa.large_string(), pa.string_view())),
    *(_of(type, b"\xff", b"") for type in (pa.binary(), pa.large_binary(), pa.binary_view())),
    _of(pa.binary(4), b"\xff\x00ab"),
    _time(pa.date32(), 0, 20_000, -(2**31), 2**31 - 1),
    _time(pa.date64(), 0, 86_400_000 * 20_000),
    *(_time(pa.timestamp(unit), 0, 1_700_000_000) for unit in ("s", "ms", "us", "ns")),
    *(_time(pa.timestamp("us", zone), 0, 2**61, -(2**61)) for zone in ("UTC", "Europe/Berlin", "+05:30")),
    _time(pa.timestamp("ns", "UTC"), 0, 1),
    *(_time(type, 0, 86_399) for type in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))),
    *(_time(pa.duration(unit), 0, -1, 2**63 - 1) for unit in ("s", "ms", "us", "ns")),
    (pa.month_day_nano_interval(), lambda: pa.array([pa.MonthDayNano([1, -2, 3]), None])),
    _extension(pa.uuid(), pa.array([b"0123456789abcdef", None], pa.binary(16))),
    _extension(pa.bool8(), pa.array([1, 0, None], pa.int8())),
    _extension(pa.json_(), pa.array(['{"a": [1]}', "no json", None])),
    _extension(ArrowPeriodType("M"), pa.array([672, None], pa.int64())),
    _extension(
        ArrowIntervalType(pa.int64(), "right"),
        pa.array([{"left": 0, "right": 1}, None], pa.struct([("left", pa.int64()), ("right", pa.int64())])),
    ),
    _of(pa.struct([]), {}),
]


def _listed(kind: Callable[[pa.DataType], pa.DataType]) -> Callable[[pa.Array], pa.Array]:
    def wrap(column: pa.Array) -> pa.Array:
        offsets = pa.array([0, 0, len(column), len(column)], pa.int32())
        lists = pa.ListArray.from_arrays(offsets, column)
        return lists.cast(kind(column.type)) if kind is not pa.list_ else lists

    return wrap


def _view(column: pa.Array) -> pa.Array:
    """Lists that lie in another order than the rows, and overlap."""
    length = len(column)
    offsets, sizes = (pa.py_buffer(np.array(numbers, np.int32)) for numbers in ([length - 1, 0, 0], [1, length, 0]))
    return pa.Array.from_buffers(pa.list_view(column.type), 3, [None, offsets, sizes], children=[column])


def _fixed(column: pa.Array) -> pa.Array:
    twice = pa.concat_arrays([column, column, column])
    return pa.FixedSizeListArray.from_arrays(twice, len(column), mask=pa.array([False, True, False]))


def _struct(column: pa.Array) -> pa.Array:
    mask = pa.array([place == 0 for place in range(len(column))])
    return pa.StructArray.from_arrays([column, pa.nulls(len(column), pa.int8())], ["a", "b"], mask=mask)


def _mapped(column: pa.Array) -> pa.Array:
    keys = pa.array([f"k{place}" for place in range(len(column))])
    return pa.MapArray.from_arrays(pa.array([0, len(column), len(column)], pa.int32()), keys, column)


def _coded(column: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, None, len(column) - 1, 0], pa.int8()), column)


def _runs(column: pa.Array) -> pa.Array:
    ends = pa.array([2 * (place + 1) for place in range(len(column))], pa.int32())
    return pa.RunEndEncodedArray.from_arrays(ends, column)


NESTINGS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "list": _listed(pa.list_),
    "list_view": _view,
    "fixed_size_list": _fixed,
    "struct": _struct,
    "map": _mapped,
    "dictionary": _coded,
    "runs": _runs,
}


def column_of(leaf: Callable[[], pa.Array], nestings: Sequence[str]) -> pa.Array:
    column = leaf()
    for name in nestings:
        column = NESTINGS[name](column)
    return column


def _column_or_reject(leaf: Callable[[], pa.Array], nestings: Sequence[str]) -> pa.Array:
    try:
        return column_of(leaf, nestings)
    except pa.ArrowNotImplementedError:  # Arrow cannot join dictionaries of some extension types
        reject()


#: A column of any type, up to three levels deep, and often a slice of a longer one.
columns = st.builds(
    lambda leaf, nestings, start: _column_or_reject(leaf[1], nestings).slice(start),
    st.sampled_from(LEAVES),
    st.lists(st.sampled_from(sorted(NESTINGS)), max_size=3),
    st.integers(0, 2),
)
