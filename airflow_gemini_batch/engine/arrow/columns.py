"""Arrow columns from Python lists, built from buffers.

``pa.array(list)`` and ``pa.scalar`` import pandas at their first call where pandas is installed: two seconds and 50 MB for
every process that lands a shard. Nothing here does, and joining bytes is also faster.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EPOCH_DAY = _EPOCH.toordinal()
_MICROSECOND = timedelta(microseconds=1)
_INT64 = range(-(2**63), 2**63)

#: The type of ``failed_at``.
TIMESTAMP = pa.timestamp("us", tz="UTC")


def strings(values: Sequence[str | None]) -> pa.Array:
    if None not in values and (together := "".join(values)).isascii():  # type: ignore[arg-type]
        offsets = array("i", accumulate(map(len, values), initial=0))  # type: ignore[arg-type]
        return pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(together.encode())])
    return utf8([None if value is None else value.encode() for value in values])


def utf8(values: Sequence[bytes | memoryview | None]) -> pa.Array:
    """Strings from bytes that are known to be UTF-8. Together they must stay under 2 GB."""
    return _bytes(pa.string(), values)


def large_binaries(values: Sequence[bytes | None]) -> pa.Array:
    return _bytes(pa.large_binary(), values, "q")


def binaries(values: Sequence[bytes | None]) -> pa.Array:
    """Together they must stay under 2 GB."""
    return _bytes(pa.binary(), values)


def _bytes(kind: pa.DataType, values: Sequence[bytes | memoryview | None], code: str = "i") -> pa.Array:
    content = [value or b"" for value in values]
    offsets = array(code, accumulate(map(len, content), initial=0))
    buffers = [validity(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(content))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def int64s(values: Sequence[int | None]) -> pa.Array:
    return _numbers(pa.int64(), "q", values)


def int32s(values: Sequence[int | None]) -> pa.Array:
    return _numbers(pa.int32(), "i", values)


def doubles(values: Sequence[float | None]) -> pa.Array:
    return _numbers(pa.float64(), "d", values)


def from_numpy(values: Any, known: Any = None) -> pa.Array:
    """A one-dimensional array of bools, integers or floats.

    :param known: where they are not null; None: everywhere.
    """
    valid = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(values), [valid, pa.py_buffer(np.packbits(values, bitorder="little"))])
    content = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [valid, content])


def from_numpy_with_nan(values: Any) -> pa.Array:
    """An array of floats, null where it is NaN."""
    return from_numpy(values, ~np.isnan(values))


def is_valid(column: pa.Array) -> Any:
    """Bools as numpy has them. The column's own ``is_valid().to_numpy`` would import pandas."""
    bits = column.buffers()[0] if column.null_count else None
    if bits is None:
        return np.full(len(column), column.null_count == 0)
    return _flags(bits, column)


def int64_values(column: pa.Array) -> Any:
    """The values of a column of int64; undefined where it is null."""
    return np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column)]


def bool_values(column: pa.Array) -> Any:
    """The values of a column of bools; undefined where it is null."""
    return _flags(column.buffers()[1] or b"", column)


def _flags(bits: Any, column: pa.Array) -> Any:
    flags = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    return flags[column.offset : column.offset + len(column)].astype(bool)


def with_nan(column: pa.Array) -> Any:
    """A column of doubles as numpy has it, NaN where it is null."""
    values = np.frombuffer(column.buffers()[1], np.float64)[column.offset : column.offset + len(column)]
    return values if column.null_count == 0 else np.where(is_valid(column), values, np.nan)


def bools(values: Sequence[bool | None]) -> pa.Array:
    return pa.Array.from_buffers(pa.bool_(), len(values), [validity(values), _bits(values)])


def dates(values: Sequence[date | None]) -> pa.Array:
    return _numbers(pa.date32(), "i", [None if value is None else value.toordinal() - _EPOCH_DAY for value in values])


def times(values: Sequence[datetime | None]) -> pa.Array:
    """From aware datetimes."""
    return _numbers(TIMESTAMP, "q", [None if value is None else (value - _EPOCH) // _MICROSECOND for value in values])


def constant_string(value: str | None, length: int) -> pa.Array:
    content = None if value is None else value.encode()
    return utf8([content] * length)


def constant_int32(value: int, length: int) -> pa.Array:
    return pa.Array.from_buffers(pa.int32(), length, [None, pa.py_buffer(array("i", [value]) * length)])


def constant_time(value: datetime, length: int) -> pa.Array:
    microseconds = (value - _EPOCH) // _MICROSECOND
    return pa.Array.from_buffers(TIMESTAMP, length, [None, pa.py_buffer(array("q", [microseconds]) * length)])


def fits_int64(value: int) -> bool:
    return value in _INT64


def _numbers(kind: pa.DataType, code: str, values: Sequence[float | None]) -> pa.Array:
    content = array(code, [0 if value is None else value for value in values])
    return pa.Array.from_buffers(kind, len(values), [validity(values), pa.py_buffer(content)])


def validity(values: Sequence[object]) -> pa.Buffer | None:
    """The validity bitmap; None where every value is valid."""
    if None not in values:
        return None
    return _bits([value is not None for value in values])


def _bits(flags: Sequence[bool | None]) -> pa.Buffer:
    """One bit for each flag, the first in the lowest bit, as Arrow expects."""
    digits = "".join(["1" if flag else "0" for flag in reversed(flags)])
    return pa.py_buffer(int(digits or "0", 2).to_bytes((len(flags) + 7) // 8, "little"))
