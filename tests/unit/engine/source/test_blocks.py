"""Blocks depend on the rows alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.arrow.layouts import plain_schema, readable
from airflow_gemini_batch.engine.source import blocks as blocks_room
from airflow_gemini_batch.engine.source.blocks import blocks, row_bytes

rows = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.one_of(st.none(), st.text(max_size=40)),
            "number": st.one_of(st.none(), st.integers(-100, 100)),
            "flag": st.one_of(st.none(), st.booleans()),
            "nested": st.one_of(st.none(), st.fixed_dictionaries({"a": st.lists(st.one_of(st.none(), st.text(max_size=9)))})),
        }
    ),
    max_size=60,
)
SCHEMA = pa.schema(
    [("text", pa.string()), ("number", pa.int64()), ("flag", pa.bool_()), ("nested", pa.struct([("a", pa.list_(pa.string()))]))]
)


def pieces(table: pa.Table, cuts: Sequence[int]) -> list[pa.RecordBatch]:
    ends = sorted({min(cut, table.num_rows) for cut in cuts} | {table.num_rows})
    starts = [0, *ends[:-1]]
    return [batch for a, b in zip(starts, ends, strict=True) for batch in table.slice(a, b - a).to_batches()]


@given(rows=rows, cuts=st.lists(st.integers(0, 60)))
def test_the_same_rows_make_the_same_bytes_however_they_come(rows: list[dict[str, object]], cuts: list[int]) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    in_one = [batch.serialize().to_pybytes() for batch in small_blocks(table.combine_chunks().to_batches())]

    in_pieces = [batch.serialize().to_pybytes() for batch in small_blocks(pieces(table, cuts))]

    assert in_pieces == in_one


@given(rows=rows, cuts=st.lists(st.integers(0, 60)))
def test_no_row_is_lost_or_moved(rows: list[dict[str, object]], cuts: list[int]) -> None:
    made = small_blocks(pieces(pa.Table.from_pylist(rows, SCHEMA), cuts))

    assert pa.Table.from_batches(made, SCHEMA).to_pylist() == rows
    assert all(block.num_rows <= 7 for block in made)
    assert all(block.num_rows == 1 or row_bytes(block).sum() <= 300 for block in made)


def small_blocks(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return list(blocks(batches, SCHEMA, max_rows=7, max_bytes=300))


def test_fat_rows_make_blocks_of_few() -> None:
    batch = pa.record_batch({"a": ["x" * 3_000_000] * 10})

    made = list(blocks([batch], batch.schema))

    assert [block.num_rows for block in made] == [2, 2, 2, 2, 2]


def test_a_dictionary_of_fat_values_is_not_unfolded_at_once() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int8()), ["x" * 3_000_000])
    batch = pa.record_batch({"a": column})

    first = next(iter(blocks([batch], plain_schema(batch.schema))))

    assert first.num_rows == 2
    assert first.column(0).type == pa.string()


def test_rows_without_columns_are_still_rows() -> None:
    batch = pa.record_batch({"a": list(range(10))}).select([])

    assert sum(block.num_rows for block in blocks([batch], batch.schema)) == 10


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "é"]),
        pa.array(["a", None, "é"]).dictionary_encode(),
        pa.array(["a", None, "é"], pa.string_view()),
        pa.array(["a", None, "é"], pa.large_string()),
        pa.array([b"a", None, b"\xc3\xa9"], pa.binary_view()),
        pa.array([["a"], None, ["", "é"]]),
        pa.array([[("a", "")], None, [("", "é")]], pa.map_(pa.string(), pa.string())),
        pa.array([{"a": "a"}, None, {"a": "é"}]),
    ],
    ids=lambda column: str(column.type),
)
def test_the_bytes_of_a_row_are_those_of_its_values_in_every_layout(column: pa.Array) -> None:
    padded = pa.concat_arrays([column.slice(1, 2), column])

    assert list(row_bytes(pa.record_batch({"a": column}))) == [2, 1, 3]
    assert list(row_bytes(pa.record_batch({"a": padded}).slice(2))) == [2, 1, 3]


def test_fixed_width_values_count_their_width() -> None:
    batch = pa.record_batch({"a": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)), "b": pa.array([1], pa.int64())})

    assert list(row_bytes(batch)) == [1 + 8 + 8]


def test_layouts_that_depend_on_the_batch_become_plain() -> None:
    folded = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("a", folded), ("b", pa.string_view()), ("c", pa.struct([("d", pa.list_(folded))]))])

    plain = plain_schema(schema)

    assert plain == pa.schema([("a", pa.string()), ("b", pa.string()), ("c", pa.struct([("d", pa.list_(pa.string()))]))])


def test_a_carried_string_that_is_no_utf8_is_made_readable() -> None:
    offsets = pa.py_buffer(np.array([0, 2, 4], np.int32))
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"ok\xffx")])

    assert readable(column).to_pylist() == ["ok", "\ufffdx"]


def test_the_limits_are_those_that_readers_of_the_inputs_file_count_on() -> None:
    assert blocks_room.MAX_BLOCK_ROWS == 4096
