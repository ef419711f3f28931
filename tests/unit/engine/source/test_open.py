"""Tables in memory and streams: what they hold, in order, in blocks; and what is said of those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source.open import Source, open_source


def rows(source: Source, columns: list[str] | None = None) -> list[dict[str, Any]]:
    names = source.schema.names if columns is None else columns
    return [row for batch in source.batches(names) for row in batch.to_pylist()]


@pytest.mark.parametrize(
    "make",
    [
        lambda table: table,
        lambda table: table.to_pandas(),
        lambda table: table.to_pylist(),
        lambda table: table.to_batches()[0],
        lambda table: table.to_batches(),
        lambda table: table.to_reader(),
        lambda table: iter(table.to_batches()),
        lambda table: (batch for batch in table.to_batches()),
    ],
    ids=["table", "pandas", "list of dicts", "batch", "list of batches", "reader", "iterator", "generator"],
)
def test_a_table_in_memory_is_read_column_by_column(make: Any) -> None:
    source = open_source(make(pa.table({"a": [1, 2], "b": ["x", None], "c": [0.5, 1.5]})))

    assert source.schema.names == ["a", "b", "c"]
    assert rows(source, ["b", "a"]) == [{"b": "x", "a": 1}, {"b": None, "a": 2}]


def test_a_source_is_its_own_source() -> None:
    source = open_source(pa.table({"a": [1]}))

    assert open_source(source) is source


def test_anything_with_the_arrow_stream_interface_is_read() -> None:
    class Relation:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return pa.table({"a": [1]}).__arrow_c_stream__(requested_schema)

    assert rows(open_source(Relation())) == [{"a": 1}]


def test_a_description_tells_a_person_what_it_is() -> None:
    assert open_source(pa.table({"a": [1, 2]})).description == "pyarrow.Table of 2 rows and 1 columns"


@given(st.lists(st.one_of(st.none(), st.text())), st.lists(st.integers(0, 20), max_size=4))
def test_the_fingerprint_of_a_table_is_that_of_its_content(values: list[str | None], cuts: list[int]) -> None:
    whole = pa.table({"a": pa.array(values, pa.string())})
    ends = sorted({min(cut, len(values)) for cut in cuts} | {len(values)})
    chunks = [whole.slice(a, b - a) for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    assert open_source(pa.concat_tables(chunks)).fingerprint() == open_source(whole).fingerprint()
    assert open_source(pa.table({"a": pa.array([*values, "x"])})).fingerprint() != open_source(whole).fingerprint()


def test_a_stream_has_no_fingerprint_and_is_read_once() -> None:
    source = open_source(iter(pa.table({"a": [1]}).to_batches()))
    assert rows(source) == [{"a": 1}]

    assert source.fingerprint() is None
    with pytest.raises(InputError, match="has been read already and cannot be read twice"):
        rows(source)


def test_an_index_is_no_column() -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])

    assert open_source(frame).schema.names == ["a"]


def test_missing_values_of_pandas_are_nulls() -> None:
    frame = pd.DataFrame({"a": pd.Series(["x", None, float("nan"), pd.NA], dtype=object)})

    assert [row["a"] for row in rows(open_source(frame))] == ["x", None, None, None]


@pytest.mark.parametrize("frame", [pd.DataFrame({"a": [1, "x"], "b": [1, 2]}), pd.DataFrame({"a": ["x", {"y": 1}]})])
def test_a_column_of_many_types_is_named(frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"column 'a' of the DataFrame has values of different types.*df\['a'\]\.astype"):
        rows(open_source(frame))


def test_an_empty_list_is_a_table_without_rows_where_its_columns_are_known() -> None:
    assert open_source([], columns=["id", "text"]).schema.names == ["id", "text"]


@pytest.mark.parametrize(
    "source",
    [
        pa.table([[1], [2]], names=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=["1", 1]),
        pa.table([[1], [2]], names=["a", "a"]).to_reader(),
    ],
)
def test_two_columns_of_one_name_are_an_error(source: Any) -> None:
    with pytest.raises(InputError, match=r"more than one column called '[a1]'"):
        open_source(source)


def test_batches_of_different_schemas_are_an_error_that_shows_both() -> None:
    batches = [pa.record_batch({"a": [1]}), pa.record_batch({"a": ["x"]})]

    with pytest.raises(InputError, match=r"Batch 1 .* \(a string\) instead of \(a int64\)"):
        rows(open_source(iter(batches)))


def test_an_iterator_without_batches_is_an_error_since_it_has_no_columns() -> None:
    with pytest.raises(InputError, match="without any batch"):
        open_source(iter([]))


def test_a_reader_without_batches_is_an_empty_table() -> None:
    source = open_source(pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), []))

    assert rows(source) == []


@pytest.mark.parametrize("source", [3, None, b"x.parquet", {}, [], [1], {"a": [1]}, iter([{"a": 1}])])
def test_what_is_no_table_is_an_error_that_says_what_is(source: Any) -> None:
    with pytest.raises(InputError, match=r"Give a path or URI|expected pyarrow\.RecordBatch"):
        open_source(source)


def test_blocks_are_small_even_if_batches_are_not() -> None:
    source = open_source(pa.table({"a": range(10_000)}))

    assert [batch.num_rows for batch in source.batches(["a"])] == [4096, 4096, 1808]


def test_a_stream_that_breaks_is_an_input_error() -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [1]})
        raise ConnectionResetError("peer")

    with pytest.raises(InputError, match="Cannot read iterator of record batches: ConnectionResetError: peer"):
        rows(open_source(broken()))
