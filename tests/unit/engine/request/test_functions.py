"""A function of the row gets Python objects: what Python cannot hold costs its own row, or is refused by its type."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given

from airflow_gemini_batch.engine.arrow.texts import why_no_python
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoded import InvalidRow
from airflow_gemini_batch.engine.request.encoding import compile_request
from tests.unit.engine.arrow.any_type import columns


def ask(row: dict[str, Any]) -> dict[str, Any]:
    return {"contents": repr(row)}


def requests(**values: pa.Array) -> list[Any]:
    batch = pa.record_batch(values)
    encoder = compile_request(ask, batch.schema, "m")
    return encoder.encode(batch.select(encoder.columns)).rows()


def invalid_utf8() -> pa.Array:
    return pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.string())


FAR = pa.array([0, 2**31 - 1], pa.int32()).view(pa.date32())
BROKEN = {
    "text": invalid_utf8(),
    "list": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), invalid_utf8()),
    "struct": pa.StructArray.from_arrays([invalid_utf8()], ["x"]),
    "far date": FAR,
    "far dates in lists": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), FAR),
    "far time": pa.array([0, 2**62], pa.timestamp("us")),
    "far time in a zone": pa.array([0, 2**62], pa.int64()).view(pa.timestamp("s", "UTC")),
    "nanoseconds": pa.array([0, 1], pa.int64()).view(pa.time64("ns")),
    "nanoseconds in lists": pa.ListArray.from_arrays(
        pa.array([0, 1, 2], pa.int32()), pa.array([0, 1], pa.int64()).view(pa.time64("ns"))
    ),
    "long": pa.array([0, 2**62], pa.int64()).view(pa.duration("s")),
}


@pytest.mark.parametrize("column", BROKEN.values(), ids=BROKEN)
def test_a_value_that_python_cannot_hold_costs_its_own_row(column: pa.Array) -> None:
    fine, broken = requests(a=column, b=pa.array([1, 2]))

    assert isinstance(fine, bytes)
    assert isinstance(broken, InvalidRow)
    assert broken.message.startswith("the value of the column 'a' ")


def test_nanoseconds_of_timestamps_are_kept() -> None:
    [made] = requests(a=pa.array([1], pa.timestamp("ns")))

    assert b"00:00:00.000000001" in made


TWICE = pa.struct([pa.field("x", pa.int8()), pa.field("x", pa.int8())])


@pytest.mark.parametrize(
    ("type", "reason"),
    [
        (TWICE, "more than one field called 'x'"),
        (pa.list_(TWICE), "more than one field called 'x'"),
        (pa.timestamp("us", "Mars/Phobos"), "'Mars/Phobos'"),
    ],
    ids=str,
)
def test_a_type_that_python_cannot_hold_is_refused_with_its_column(type: pa.DataType, reason: str) -> None:
    with pytest.raises(InputError, match=rf"the column 'a' holds .*{reason}"):
        compile_request(ask, pa.schema([("a", type)]), "m")


@given(columns)
def test_no_value_of_any_type_raises(column: pa.Array) -> None:
    if why_no_python(column.type) is None:
        assert len(requests(a=column)) == len(column)


def test_a_table_without_columns_has_rows() -> None:
    batch = pa.RecordBatch.from_struct_array(pa.nulls(2, pa.struct([])))

    assert len(compile_request(ask, batch.schema, "m").encode(batch).rows()) == 2
