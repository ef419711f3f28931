"""Structured answers, field by field: which fields differ between the two runs, and in how many rows.

Of each value a number of 64 bits is kept, so that a million answers are compared in little memory. It is 0 where there is no
value, and else the same for equal values within one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from airflow_gemini_batch.engine.arrow import columns

#: The column of structured answers.
PARSED = "parsed"

#: Fields that are compared; a schema with more is compared in its first ones.
_MOST_FIELDS = 100

_STEP = np.uint64(0x9E3779B97F4A7C15)
_LIST = np.uint64(0xD6E8FEB86659FD93)


def paths_of(type: pa.DataType, path: str = "") -> Iterator[str]:
    """The fields of a type, as ``lines[].sku``; an answer that is one value has the path ``parsed``."""
    if pt.is_struct(type):
        for position in range(type.num_fields):
            yield from paths_of(
                type.field(position).type, f"{path}.{type.field(position).name}" if path else type.field(position).name
            )
    elif pt.is_list(type) or pt.is_large_list(type):
        yield from paths_of(type.value_type, f"{path}[]")
    else:
        yield path or PARSED


def fields_of(schemas: Sequence[pa.Schema]) -> tuple[str, ...]:
    """The fields of all runs' structured answers; none where no run has any."""
    found = [path for schema in schemas if PARSED in schema.names for path in paths_of(schema.field(PARSED).type)]
    return tuple(dict.fromkeys(found))[:_MOST_FIELDS]


def field_name(place: int) -> str:
    """The column of ``Side.rows`` with the numbers of a field."""
    return f"field {place}"


def numbers_of(parsed: pa.Array, fields: Sequence[str]) -> list[pa.Array]:
    """A column of uint64 for each field."""
    found = dict(_hashed(parsed, ""))
    return [columns.from_numpy(found[path]) if path in found else _nothing(len(parsed)) for path in fields]


def _nothing(rows: int) -> pa.Array:
    return columns.from_numpy(np.zeros(rows, np.uint64))


def no_numbers(rows: int, fields: Sequence[str]) -> list[pa.Array]:
    """Of rows that have no structured answer."""
    return [_nothing(rows)] * len(fields)


def _hashed(values: pa.Array, path: str) -> Iterator[tuple[str, Any]]:
    if pt.is_struct(values.type):
        for child, inner in zip(values.type, values.flatten(), strict=True):
            yield from _hashed(inner, f"{path}.{child.name}" if path else child.name)
    elif pt.is_list(values.type) or pt.is_large_list(values.type):
        lengths = pc.fill_null(pc.list_value_length(values), 0).cast(pa.int64())
        sizes = np.frombuffer(lengths.buffers()[1], np.int64)[: len(lengths)]
        known = columns.is_valid(values)
        for inner_path, inner in _hashed(values.flatten(), f"{path}[]"):
            yield inner_path, np.where(known, _of_lists(inner, sizes), np.uint64(0))
    else:
        yield path or PARSED, _of_values(values)


def _of_lists(items: Any, sizes: Any) -> Any:
    """One number for each list, by its items in their order."""
    ends = np.cumsum(sizes)
    places = np.arange(len(items), dtype=np.int64) - np.repeat(ends - sizes, sizes)
    with np.errstate(over="ignore"):
        mixed = _mixed(items + places.astype(np.uint64) * _STEP)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
        found: Any = _mixed(sums[ends] - sums[ends - sizes] + sizes.astype(np.uint64) * _STEP + _LIST)
    return found | np.uint64(1)


def _of_values(values: pa.Array) -> Any:
    if pt.is_null(values.type):
        return np.zeros(len(values), np.uint64)
    coded = pc.dictionary_encode(values) if not pt.is_nested(values.type) else None
    distinct = (values if coded is None else coded.dictionary).to_pylist()
    numbers = np.fromiter((_number(value) for value in distinct), np.uint64, len(distinct))
    if coded is None:
        return numbers
    known = columns.is_valid(coded.indices)
    at = np.frombuffer(coded.indices.buffers()[1], np.int32)[: len(values)]
    return np.where(known, np.append(numbers, np.uint64(0))[np.where(known, at, len(numbers))], np.uint64(0))


def _number(value: Any) -> int:
    """1 and 1.0 are equal, as they are in JSON."""
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):  # a map, whose members have no order
        value = sorted(value, key=str)
    return hash(f"{value}") & 0xFFFFFFFFFFFFFFFF | 1


def _mixed(values: Any) -> Any:
    """The finaliser of splitmix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
