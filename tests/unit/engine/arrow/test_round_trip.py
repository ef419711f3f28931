"""Rows of nulls are those that ``pa.array`` makes, but made without pandas."""

from __future__ import annotations

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.arrow.round_trip import _nulls_inside, _rows_of_nulls

INNER = pa.struct([pa.field("a", pa.int64(), nullable=False), ("b", pa.list_(pa.string()))])


@pytest.mark.parametrize(
    "type",
    [
        pa.string(),
        pa.timestamp("us", tz="UTC"),
        pa.null(),
        pa.uuid(),
        pa.list_(pa.float32(), 3),
        pa.list_(pa.list_(pa.string()), 2),
        pa.list_(pa.string()),
        pa.list_(pa.list_(INNER)),
        pa.large_list(pa.string()),
        pa.map_(pa.string(), INNER),
        pa.struct([]),
        pa.struct([("x", INNER), ("y", pa.list_(INNER)), ("z", pa.list_(pa.float64(), 2))]),
    ],
)
def test_they_are_those_of_pyarrow(type: pa.DataType) -> None:
    made = _rows_of_nulls(type)

    made.validate(full=True)
    assert made.equals(pa.array([None, _nulls_inside(type)], type))
