"""JSON Lines that are passed on: what has one type keeps it, and all else is its own JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.source.open import open_source
from airflow_gemini_batch.engine.source.raw_json_lines import RawJsonLines


def read(path: Path) -> pa.Table:
    place = locate(str(path))
    schema = RawJsonLines.schema(place)
    return pa.Table.from_batches(RawJsonLines.read(place, schema.names, schema), schema)


@pytest.mark.parametrize(
    ("values", "type", "expected"),
    [
        ([1, None, -2], pa.int64(), [1, None, -2]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([True, None], pa.bool_(), [True, None]),
        (["a", None, ""], pa.string(), ["a", None, ""]),
        ([{"a": [1, None]}, None], pa.string(), ['{"a": [1, null]}', None]),
        ([1, "1"], pa.string(), ["1", "1"]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([2**53 + 1, 1], pa.int64(), [2**53 + 1, 1]),
        ([1, 2**53 + 1, 1.5], pa.string(), ["1", "9007199254740993", "1.5"]),
        ([2**63, 1], pa.string(), ["9223372036854775808", "1"]),
        ([None, None], pa.string(), [None, None]),
        (["2026-01-02T03:04:05Z"], pa.string(), ["2026-01-02T03:04:05Z"]),
    ],
)
def test_a_column_is_typed_where_all_its_values_agree(
    values: list[Any], type: pa.DataType, expected: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"a": value}) + "\n" for value in values))

    column = read(tmp_path / "a.jsonl")["a"]

    assert column.type == type
    assert column.to_pylist() == expected


def test_the_last_line_decides_as_much_as_the_first(tmp_path: Path) -> None:
    lines = [json.dumps({"a": 1})] * 5000 + [json.dumps({"a": "x", "b": 2})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    table = read(tmp_path / "a.jsonl")

    assert table.schema == pa.schema([("a", pa.string()), ("b", pa.int64())])
    assert table.to_pylist()[-2:] == [{"a": "1", "b": None}, {"a": "x", "b": 2}]


@given(
    st.lists(
        st.dictionaries(st.sampled_from("ab"), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3))
    )
)
def test_no_value_is_lost(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    rows = [json.loads(json.dumps(row).replace("NaN", "null").replace("Infinity", "1e999")) for row in rows]
    path.write_text("".join(json.dumps(row).replace("Infinity", "1e999") + "\n" for row in rows))

    table = read(path)

    for name in table.schema.names:
        assert [value is None for value in table[name].to_pylist()] == [row.get(name) is None for row in rows]


def test_an_integer_that_the_doubles_of_another_file_would_round_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1.5}\n')
    (tmp_path / "b.jsonl").write_text('{"a": 9007199254740993}\n')
    source = open_source(tmp_path, json_as_text=True)

    with pytest.raises(InputError, match=r"b\.jsonl as JSON Lines: the column 'a' holds the integer 9007199254740993"):
        list(source.batches(["a"]))
