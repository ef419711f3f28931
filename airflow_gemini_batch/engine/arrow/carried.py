"""Columns as the tables carry them: types that Parquet returns unchanged, and that Spark, DuckDB, BigQuery and Iceberg read.

The types are decided once, when the run is built. So the inputs files, both tables and the files of resubmitted
rows have one schema.

| a column of                                       | is carried as                                                      |
|---------------------------------------------------|--------------------------------------------------------------------|
| timestamps                                        | timestamp[us]; timestamp[ns] where microseconds would lose digits   |
| timestamps with an offset or an unknown zone      | the same instant in UTC                                            |
| date64                                            | date32                                                             |
| float16                                           | float32                                                            |
| decimals                                          | decimal128; as text above 38 digits                                 |
| times, durations, intervals, uuid, pandas periods  | the text that a placeholder would show                             |
| null                                              | string                                                             |
| structs without fields                            | their JSON text, ``{}``                                            |
| what the installed pyarrow reads back otherwise   | what it reads back (see ``round_trip``)                             |
| dictionaries, runs, views, large types            | what they hold, in the plain layout                                |

Lists, structs and maps stay what they are, with these rules inside.
"""

from __future__ import annotations

import pyarrow as pa

from airflow_gemini_batch.engine.arrow import extensions, times
from airflow_gemini_batch.engine.arrow.columns import strings
from airflow_gemini_batch.engine.arrow.layouts import converted, is_binary, is_encoded, is_list, is_text, readable
from airflow_gemini_batch.engine.arrow.round_trip import stable_type
from airflow_gemini_batch.engine.arrow.texts import texts, twice_named
from airflow_gemini_batch.engine.arrow.values import NoText

_types = pa.types

#: The digits that Spark's, DuckDB's and Iceberg's decimals hold.
_MAX_DIGITS = 38


class CannotCarryError(Exception):
    """A type or value that no table can hold; the message completes "the column …"."""


def carried_type(field: pa.Field, *, nanoseconds: bool) -> pa.DataType:
    """The type in the tables. Raises CannotCarryError for a type that they cannot hold.

    :param nanoseconds: keep the nanoseconds of times that have them.
    """
    return stable_type(_type(field, nanoseconds))


def _type(field: pa.Field, nanoseconds: bool) -> pa.DataType:
    if reason := extensions.why_unknown(field):
        raise CannotCarryError(reason)
    type = field.type
    if (name := extensions.extension_of(type)) is not None:
        return pa.bool_() if name == extensions.BOOL8 else pa.string()
    if is_encoded(type):
        return _type(pa.field("", type.value_type), nanoseconds)
    if _types.is_nested(type):
        return _nested(type, nanoseconds)
    if _types.is_timestamp(type):
        return pa.timestamp("ns" if nanoseconds and type.unit == "ns" else "us", _zone(type.tz))
    if _types.is_decimal(type):
        digits, scale = max(type.precision, type.scale), type.scale
        if scale < 0:
            digits, scale = digits - scale, 0
        return pa.decimal128(digits, scale) if digits <= _MAX_DIGITS else pa.string()
    return next((carried for matches, carried in _LEAVES if matches(type)), type)


def _zone(zone: str | None) -> str | None:
    """UTC in place of offsets, which polars refuses, and of unknown zones: an instant is the same in every zone."""
    return zone if zone is None or (times.is_known_zone(zone) and times.is_named_zone(zone)) else "UTC"


_LEAVES = (
    (is_text, pa.string()),
    (is_binary, pa.binary()),
    (_types.is_float16, pa.float32()),
    (_types.is_date, pa.date32()),
    # Spark reads no time of day, and none of the four reads durations or intervals.
    (lambda type: _types.is_time(type) or _types.is_duration(type) or _types.is_interval(type), pa.string()),
    (_types.is_null, pa.string()),
)


def _nested(type: pa.DataType, nanoseconds: bool) -> pa.DataType:
    def inner(field: pa.Field) -> pa.Field:
        return pa.field(field.name, _type(field, nanoseconds))

    if _types.is_fixed_size_list(type) and type.list_size:
        return pa.list_(inner(type.value_field), type.list_size)
    if is_list(type):
        return pa.list_(inner(type.value_field))
    if _types.is_map(type):
        return pa.map_(inner(type.key_field).type, inner(type.item_field).type)
    if not _types.is_struct(type):
        raise CannotCarryError(f"holds {type} values, which Parquet has no type for")
    if twice := twice_named(type):
        raise CannotCarryError(f"holds structs with more than one field called {twice!r}")
    fields = [inner(type.field(index)) for index in range(type.num_fields)]
    return pa.struct(fields) if fields else pa.string()


def _leaf(column: pa.Array, type: pa.DataType) -> pa.Array:
    """What is not a list, struct or map in the carried type."""
    own = column.type
    if extensions.extension_of(own) in (extensions.BOOL8, extensions.JSON):
        return column.storage.cast(type)
    if not _types.is_string(type) or is_text(own):
        return column.cast(type)
    written = texts(column)
    if reason := next((text.reason for text in written if isinstance(text, NoText)), None):
        raise CannotCarryError(f"holds a value that {reason}")
    return strings(written)  # type: ignore[arg-type]


def carried(column: pa.Array, type: pa.DataType) -> pa.Array:
    """The column as its carried type, with U+FFFD in place of invalid UTF-8.

    Raises CannotCarryError for a value that does not fit.
    """
    try:
        return converted(readable(column), type, _leaf)
    except (pa.ArrowException, OverflowError) as error:
        raise CannotCarryError(f"holds a value that does not fit ({error})") from error


def has_nanoseconds(type: pa.DataType) -> bool:
    """Whether microseconds may lose digits of such values."""
    if isinstance(type, pa.BaseExtensionType):
        return False
    if is_encoded(type):
        return has_nanoseconds(type.value_type)
    if _types.is_timestamp(type):
        return bool(type.unit == "ns")
    return any(has_nanoseconds(type.field(index).type) for index in range(type.num_fields))


def loses_digits(column: pa.Array, type: pa.DataType) -> bool:
    """Whether the type, with microseconds, cannot hold a time of the column."""
    try:
        carried(column, type)
    except CannotCarryError:
        return True
    return False
