"""Columns in another layout or type, however deeply nested: without dictionaries, runs and views, or as tables carry them.

One function walks through lists, structs and maps; what happens to the values inside is given to it. Arrow's own ``cast``
does not do this for dictionaries of structs, runs and extension types.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.columns import strings

_types = pa.types

#: The field metadata with the name of an extension type that is not registered in this process.
EXTENSION_NAME = b"ARROW:extension:name"

#: Makes of a column of any type that is not a list, struct or map one of another type.
Leaf = Callable[[pa.Array, pa.DataType], pa.Array]


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema without dictionaries, views and runs, whose layout would depend on how the rows came."""
    return pa.schema([_plain_field(field) for field in schema], schema.metadata)


def plain_type(type: pa.DataType) -> pa.DataType:
    if is_encoded(type):
        return plain_type(type.value_type)
    if _types.is_string_view(type):
        return pa.string()
    if _types.is_binary_view(type):
        return pa.binary()
    if _types.is_struct(type):
        return pa.struct([_plain_field(type.field(index)) for index in range(type.num_fields)])
    if _types.is_map(type):
        return pa.map_(_plain_field(type.key_field), _plain_field(type.item_field), type.keys_sorted)
    if _types.is_fixed_size_list(type):
        return pa.list_(_plain_field(type.value_field), type.list_size)
    if _types.is_large_list(type):
        return pa.large_list(_plain_field(type.value_field))
    if is_list(type):
        return pa.list_(_plain_field(type.value_field))
    return type


def _plain_field(field: pa.Field) -> pa.Field:
    name = (field.metadata or {}).get(EXTENSION_NAME)
    return pa.field(field.name, plain_type(field.type), field.nullable, {EXTENSION_NAME: name} if name else None)


def is_encoded(type: pa.DataType) -> bool:
    """Whether values are stored once and referred to: a dictionary, or runs."""
    return bool(_types.is_dictionary(type) or _types.is_run_end_encoded(type))


def is_list(type: pa.DataType) -> bool:
    """Any of the list types, but not a map."""
    return bool(
        _types.is_list(type)
        or _types.is_large_list(type)
        or _types.is_fixed_size_list(type)
        or _types.is_list_view(type)
        or _types.is_large_list_view(type)
    )


def is_text(type: pa.DataType) -> bool:
    return bool(_types.is_string(type) or _types.is_large_string(type) or _types.is_string_view(type))


def is_binary(type: pa.DataType) -> bool:
    return bool(
        _types.is_binary(type) or _types.is_large_binary(type) or _types.is_binary_view(type) or _types.is_fixed_size_binary(type)
    )


def cast(column: pa.Array, type: pa.DataType) -> pa.Array:
    return column.cast(type)


def converted(column: pa.Array, type: pa.DataType, leaf: Leaf = cast, *, every_leaf: bool = False) -> pa.Array:
    """The column as that type. Raises ArrowInvalid for a value that does not fit, and what ``leaf`` raises.

    :param type: without dictionaries and runs; lists, structs and maps where the column has them, or the type of a leaf.
    :param leaf: converts what is not a list, struct or map there.
    :param every_leaf: call ``leaf`` for columns too that have the type already.
    """
    own = column.type
    if own == type and not (every_leaf or is_encoded(own)):
        return column
    inner = partial(converted, leaf=leaf, every_leaf=every_leaf)
    if is_encoded(own):
        values, places = referred(column)
        return inner(taken(values, places), type)
    if is_list(own) and is_list(type):
        values, lengths = items(column)
        return _list_of(type, column, inner(values, type.value_type), lengths)
    if _types.is_map(own) and _types.is_map(type):
        entries, lengths = items(column)
        keys = inner(entries.field(0), type.key_type)
        pairs = [keys, inner(entries.field(1), type.item_type)]
        return _list_of(type, column, pa.StructArray.from_arrays(pairs, fields=[type.key_field, type.item_field]), lengths)
    if _types.is_struct(own) and _types.is_struct(type) and own.num_fields == type.num_fields:
        fields = [type.field(index) for index in range(type.num_fields)]
        children = [inner(column.field(index), field.type) for index, field in enumerate(fields)]
        return pa.Array.from_buffers(type, len(column), [_validity(column)], children=children)
    return leaf(column, type)


def referred(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The values that a dictionary or runs hold, and for each row the place of its value."""
    if _types.is_dictionary(column.type):
        return column.dictionary, column.indices
    ends = np.asarray(column.run_ends)
    places = np.searchsorted(ends, np.arange(column.offset, column.offset + len(column)), side="right")
    return column.values, pa.array(places.astype(np.int32))


def taken(values: pa.Array, places: pa.Array) -> pa.Array:
    """The values at these places. Arrow's ``take`` does not know views and runs, so they become plain first."""
    return converted(values, plain_type(values.type)).take(places)


def items(column: pa.Array) -> tuple[pa.Array, Any]:
    """The items of all rows of a list or map (as entries), one row after the other, and how many each row has; 0 for a null."""
    starts, lengths = _spans(column)
    if column.null_count:
        lengths = np.where(np.asarray(column.is_valid()), lengths, 0)
    values = _entries(column) if _types.is_map(column.type) else column.values
    ends = starts + lengths
    filled = lengths > 0
    first = int(starts[filled][0]) if filled.any() else 0
    if (starts[filled][1:] == ends[filled][:-1]).all():
        return values.slice(first, int(lengths.sum())), lengths
    shifts = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return taken(values, pa.array(np.arange(int(lengths.sum()), dtype=np.int64) + shifts)), lengths


def _spans(column: pa.Array) -> tuple[Any, Any]:
    """Where each row's items begin among all items, and how many there are."""
    type, length, offset = column.type, len(column), column.offset
    if _types.is_fixed_size_list(type):
        return (np.arange(length, dtype=np.int64) + offset) * type.list_size, np.full(length, type.list_size, dtype=np.int64)
    kind = np.int64 if _types.is_large_list(type) or _types.is_large_list_view(type) else np.int32
    buffers = column.buffers()
    if _types.is_list_view(type) or _types.is_large_list_view(type):
        starts, lengths = (np.frombuffer(buffers[index], kind)[offset : offset + length] for index in (1, 2))
        return starts.astype(np.int64), lengths.astype(np.int64)
    if not length:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ends = np.frombuffer(buffers[1], kind)[offset : offset + length + 1].astype(np.int64)
    return ends[:-1], np.diff(ends)


def _entries(column: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([column.keys, column.items], ["key", "value"])


def _list_of(type: pa.DataType, like: pa.Array, values: pa.Array, lengths: Any) -> pa.Array:
    """A list or map of those values, null where ``like`` is."""
    if _types.is_fixed_size_list(type):
        if like.null_count:  # the rows that are null have no values any more, and must have some
            places = np.full((len(like), type.list_size), -1, dtype=np.int64)
            places[np.asarray(like.is_valid())] = np.arange(len(values)).reshape(-1, type.list_size)
            values = values.take(pa.array(places.ravel(), mask=places.ravel() < 0))
        return pa.Array.from_buffers(type, len(like), [_validity(like)], children=[values])
    kind = np.int64 if _types.is_large_list(type) else np.int32
    offsets = pa.py_buffer(np.concatenate([[0], np.cumsum(lengths)]).astype(kind))
    return pa.Array.from_buffers(type, len(like), [_validity(like), offsets], children=[values])


def _validity(column: pa.Array) -> pa.Buffer | None:
    return pa.py_buffer(np.packbits(np.asarray(column.is_valid()), bitorder="little")) if column.null_count else None


def readable(column: pa.Array) -> pa.Array:
    """The same column, with U+FFFD in place of invalid UTF-8 at any depth, which readers of tables refuse."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return converted(column, column.type, _readable, every_leaf=True)
    return column


def _readable(column: pa.Array, type: pa.DataType) -> pa.Array:
    if not is_text(type):
        return column
    values = column.cast(pa.large_binary()).to_pylist()
    return strings([None if value is None else value.decode(errors="replace") for value in values]).cast(type)
