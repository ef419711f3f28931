"""Rows in blocks whose limits depend on the rows alone.

However a source hands out its rows, a block gives the same bytes every time, which is how a run is recognised. A block is bounded
in rows and in bytes, so memory stays flat when rows are large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.layouts import converted, is_encoded, items, referred

#: Enough that the cost of a batch is small beside that of its rows; the inputs file is read back in these units.
MAX_BLOCK_ROWS = 4096
#: A few of these, with the requests made from them, are in memory at a time.
MAX_BLOCK_BYTES = 8 << 20

_types = pa.types


def blocks(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    max_rows: int = MAX_BLOCK_ROWS,
    max_bytes: int = MAX_BLOCK_BYTES,
) -> Iterator[pa.RecordBatch]:
    """The rows of ``batches`` in order, in blocks of ``schema``, which is plain."""
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        ends = np.cumsum(row_bytes(batch))
        start = 0
        while start < batch.num_rows:
            before = int(ends[start - 1]) if start else 0
            stop = min(int(np.searchsorted(ends, before + max_bytes - size, side="right")), start + max_rows - rows)
            if stop <= start and not rows:
                stop = start + 1  # a row that is a block by itself
            if stop > start:
                pending.append(batch.slice(start, stop - start))
                rows += stop - start
                size += int(ends[stop - 1]) - before
                start = stop
            if start < batch.num_rows or rows == max_rows:
                yield _joined(pending, schema)
                pending, rows, size = [], 0, 0
    if rows:
        yield _joined(pending, schema)


def copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in buffers of their own, which hold nothing else."""
    return _joined([batch], batch.schema)


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for index, field in enumerate(schema):
        pieces = [converted(batch.column(index), field.type) for batch in batches]
        # The empty piece makes Arrow copy even a single one: slices keep unrelated bits and bytes around them.
        columns.append(pa.concat_arrays([*pieces, pieces[0].slice(0, 0)]))
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.nulls(sum(batch.num_rows for batch in batches), pa.struct([])))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def row_bytes(batch: pa.RecordBatch) -> Any:
    """Bytes of each row's values, at least 1; the same however the values are laid out."""
    sizes = np.ones(batch.num_rows, dtype=np.int64)
    for column in batch.columns:
        sizes += _value_bytes(column)
    return sizes


def _value_bytes(column: pa.Array) -> Any:
    type = column.type
    length = len(column)
    if not length:
        return np.zeros(0, dtype=np.int64)
    if isinstance(column, pa.ExtensionArray):
        return _value_bytes(column.storage)
    if is_encoded(type):
        values, places = referred(column)
        sizes = np.append(_value_bytes(values), 0)  # a null points to the last one
        indices = places.cast(pa.int64()).fill_null(len(sizes) - 1)
        return sizes[np.frombuffer(indices.buffers()[1], np.int64)[indices.offset : indices.offset + length]]
    if _types.is_nested(type) and not _types.is_union(type):
        return _nested_bytes(column)
    return _flat_bytes(column)


def _flat_bytes(column: pa.Array) -> Any:
    type = column.type
    if _types.is_string(type) or _types.is_binary(type):
        return np.diff(_offsets(column, np.int32)).astype(np.int64)
    if _types.is_large_string(type) or _types.is_large_binary(type):
        return np.diff(_offsets(column, np.int64))
    if _types.is_string_view(type) or _types.is_binary_view(type):
        # Each view is 16 bytes, of which the first four are the length.
        return np.frombuffer(column.buffers()[1], np.int32)[::4][column.offset : column.offset + len(column)].astype(np.int64)
    try:
        width = (type.bit_width + 7) // 8
    except ValueError:  # null, unions
        width = 8
    return np.full(len(column), width, dtype=np.int64)


def _nested_bytes(column: pa.Array) -> Any:
    type = column.type
    length = len(column)
    if _types.is_struct(type):
        return sum((_value_bytes(column.field(i)) for i in range(type.num_fields)), np.zeros(length, dtype=np.int64))
    if _types.is_map(type):
        offsets = _offsets(column, np.int32)
        return _spans(offsets, column.keys) + _spans(offsets, column.items)
    if _types.is_list_view(type) or _types.is_large_list_view(type):
        values, lengths = items(column)
        return _spans(np.concatenate([[0], np.cumsum(lengths)]), values)
    if _types.is_fixed_size_list(type):
        values = column.values.slice(column.offset * type.list_size, length * type.list_size)
        return _value_bytes(values).reshape(length, type.list_size).sum(axis=1)
    return _spans(_offsets(column, np.int64 if _types.is_large_list(type) else np.int32), column.values)


def _offsets(column: pa.Array, kind: Any) -> Any:
    return np.frombuffer(column.buffers()[1], kind)[column.offset : column.offset + len(column) + 1]


def _spans(offsets: Any, values: pa.Array) -> Any:
    """Bytes of the children between each two offsets."""
    first, last = int(offsets[0]), int(offsets[-1])
    ends = np.concatenate([[0], np.cumsum(_value_bytes(values.slice(first, last - first)))])
    return np.diff(ends[offsets - first])
