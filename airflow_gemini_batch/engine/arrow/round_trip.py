"""What a type comes back as from Parquet, with the pyarrow that is installed.

Versions differ. Before 26, a null list of a fixed size cannot be read, or, inside another list, not even written; before 24, a
time zone inside a map comes back as UTC.
"""

from __future__ import annotations

from array import array
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.arrow.layouts import is_list

_types = pa.types


def schema_read_back(schema: pa.Schema) -> pa.Schema | Exception:
    """What rows of nulls, on each level of the types, come back as, or why they do not."""
    rows = pa.Table.from_arrays([_rows_of_nulls(field.type) for field in schema], schema=schema)
    file = pa.BufferOutputStream()
    try:
        with pq.ParquetWriter(file, schema) as writer:
            writer.write_table(rows)
        with pq.ParquetFile(pa.BufferReader(file.getvalue())) as parquet:
            found: pa.Schema = parquet.read().schema
            return found
    except (pa.ArrowException, OSError) as error:
        return error


def _rows_of_nulls(type: pa.DataType) -> pa.Array:
    """A null, and a value whose innermost values are null.

    The types that answers have are put together from buffers: ``pa.array`` imports pandas, which takes longer than many a build.
    """
    if not _types.is_nested(type):
        return pa.nulls(2, type)
    second_only = pa.py_buffer(b"\x02")
    if _types.is_struct(type):
        children = [_rows_of_nulls(type.field(index).type) for index in range(type.num_fields)]
        return pa.Array.from_buffers(type, 2, [second_only], children=children)
    if _types.is_list(type):
        offsets = pa.py_buffer(array("i", [0, 0, 2]))
        return pa.Array.from_buffers(type, 2, [second_only, offsets], children=[_rows_of_nulls(type.value_type)])
    if _types.is_fixed_size_list(type):
        items = _rows_of_nulls(type.value_type).take(columns.int64s([0] * type.list_size + [1] * type.list_size))
        return pa.Array.from_buffers(type, 2, [second_only], children=[items])
    return pa.array([None, _nulls_inside(type)], type)


def _nulls_inside(type: pa.DataType) -> Any:
    """A value of the type, as Python has it, whose innermost values are null."""
    if _types.is_map(type):
        return [("", _nulls_inside(type.item_type))] if _types.is_string(type.key_type) else []
    if _types.is_fixed_size_list(type):
        return [_nulls_inside(type.value_type)] * type.list_size
    if is_list(type):
        return [None, _nulls_inside(type.value_type)]
    if _types.is_struct(type):
        return {field.name: _nulls_inside(field.type) for field in (type.field(index) for index in range(type.num_fields))}
    return None


@cache
def stable_type(type: pa.DataType) -> pa.DataType:
    """The type that Parquet returns unchanged and that holds the same values; the type itself where there is none."""
    if _read_back(type) == type:
        return type
    for sized in (True, False):
        found = _read_back(_unnamed(type, sized=sized))
        if isinstance(found, pa.DataType) and _read_back(found := _unnamed(found, sized=sized)) == found:
            return found
    return type


def _read_back(type: pa.DataType) -> pa.DataType | Exception:
    found = schema_read_back(pa.schema([pa.field("column", type)]))
    return found.field(0).type if isinstance(found, pa.Schema) else found


def _unnamed(type: pa.DataType, *, sized: bool) -> pa.DataType:
    """The type with Arrow's usual names for the items of lists and maps.

    :param sized: keep the size of lists of a fixed size.
    """

    def inner(field: pa.Field) -> pa.DataType:
        return _unnamed(field.type, sized=sized)

    if _types.is_map(type):
        return pa.map_(inner(type.key_field), inner(type.item_field))
    if _types.is_fixed_size_list(type) and sized:
        return pa.list_(inner(type.value_field), type.list_size)
    if is_list(type):
        return pa.list_(inner(type.value_field))
    if _types.is_struct(type):
        return pa.struct([(field.name, inner(field)) for field in (type.field(index) for index in range(type.num_fields))])
    return type
