"""What the values of each Arrow type look like in a text."""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.arrow.texts import texts, why_no_text
from airflow_gemini_batch.engine.arrow.values import NoText

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, 120_000)
UTC = dt.timezone.utc


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array(["é"]), "é"),
        (pa.array(["é"], pa.large_string()), "é"),
        (pa.array(["é"], pa.string_view()), "é"),
        (pa.array(["é"]).dictionary_encode(), "é"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([-(2**63)], pa.int64()), "-9223372036854775808"),
        (pa.array([True]), "true"),
        (pa.array([False]), "false"),
        (pa.array([0.1]), "0.1"),
        (pa.array([1e22]), "1e+22"),
        (pa.array([math.nan]), "nan"),
        (pa.array([0.1], pa.float32()), "0.1"),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([Decimal("1E+3")], pa.decimal128(5, -3)), "1000"),
        (pa.array([dt.date(2026, 1, 2)]), "2026-01-02"),
        (pa.array([WHEN]), "2026-01-02T03:04:05.12"),
        (pa.array([WHEN.replace(microsecond=0)]), "2026-01-02T03:04:05"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.array([WHEN.replace(tzinfo=UTC)], pa.timestamp("us", "UTC")), "2026-01-02T03:04:05.12Z"),
        (pa.array([WHEN.replace(tzinfo=UTC)], pa.timestamp("us", "+01:00")), "2026-01-02T04:04:05.12+01:00"),
        (pa.array([dt.time(3, 4, 5)]), "03:04:05"),
        (pa.array([dt.timedelta(seconds=90, milliseconds=500)]), "PT90.5S"),
        (pa.array([dt.timedelta(seconds=-100)], pa.duration("s")), "-PT100S"),
        (pa.array([["a", None]]), '["a",null]'),
        (pa.array([{"a": 1, "b": {"c": dt.date(2026, 1, 2)}}]), '{"a":1,"b":{"c":"2026-01-02"}}'),
        (pa.array([[("k", Decimal("1.10"))]], pa.map_(pa.string(), pa.decimal128(5, 2))), '{"k":1.10}'),
        (pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64())), '[["k",1],["k",2]]'),
        (pa.array([uuid.UUID(int=5).bytes], pa.uuid()), "00000000-0000-0000-0000-000000000005"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_a_value_has_a_plain_text_form(column: pa.Array, text: str) -> None:
    assert why_no_text(column.type) is None

    assert texts(column) == [text]
    assert texts(pa.concat_arrays([column, pa.nulls(1, column.type)])) == [text, None]


@pytest.mark.parametrize(
    "type", [pa.binary(), pa.binary(4), pa.large_binary(), pa.list_(pa.binary()), pa.struct([("a", pa.list_(pa.binary()))])]
)
def test_bytes_have_none_however_deep_they_lie(type: pa.DataType) -> None:
    assert why_no_text(type) == "holds bytes"


@pytest.mark.parametrize("nested", [False, True])
def test_invalid_utf8_is_the_error_of_its_own_row_alone(nested: bool) -> None:
    content = pa.py_buffer(b"goodb\xffd")
    column = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0\7\0\0\0"), content])
    column = pa.StructArray.from_arrays([column], ["a"]) if nested else column

    good, bad = texts(column)

    assert good == ('{"a":"good"}' if nested else "good")
    assert isinstance(bad, NoText)
    assert "not valid UTF-8" in bad.reason


@given(st.lists(st.floats(width=32)))
def test_a_small_float_is_read_back_as_itself(values: list[float]) -> None:
    column = pa.array(values, pa.float32())

    written: list[Any] = texts(column)

    assert pa.array([float(text) for text in written], pa.float32()).equals(column) or any(map(math.isnan, values))


@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.text())))))
def test_a_list_is_json_that_says_the_same(values: list[list[str | None] | None]) -> None:
    written: list[Any] = texts(pa.array(values, pa.list_(pa.string())))

    assert [None if text is None else json.loads(text) for text in written] == values
