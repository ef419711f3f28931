"""What a function returns becomes a table."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from airflow_gemini_batch import EmbedRequest, GenerateRequest, Media, RawRequest
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.named_columns import columns_named
from airflow_gemini_batch.engine.source.open import open_source
from airflow_gemini_batch.engine.source.records import as_source


def table_of(returned: Any, columns: list[str] | None = None) -> pa.Table:
    source = open_source(as_source(returned, by="f()", columns=columns or ()))
    return pa.Table.from_batches(source.batches(source.schema.names), source.schema)


def test_prompts_are_a_column() -> None:
    assert table_of(["a", "b"]).to_pydict() == {"prompt": ["a", "b"]}


def test_rows_have_all_columns_that_any_of_them_has() -> None:
    table = table_of([{"id": 1, "body": "a"}, {"body": "b", "tags": ["x"]}])

    assert table.to_pydict() == {"id": [1, None], "body": ["a", "b"], "tags": [None, ["x"]]}


@pytest.mark.parametrize("table", [pa.table({"a": [1]}), pd.DataFrame({"a": [1]}), [pa.record_batch({"a": [1]})]], ids=type)
def test_a_table_passes_as_it_is(table: Any) -> None:
    assert as_source(table, by="f()") is table


def test_a_day_without_rows_has_the_columns_that_are_asked_for() -> None:
    request = GenerateRequest(prompt="In ${lang}: ${body}", system_instruction="You are ${role}.")

    table = table_of([], columns_named(request, "id", None, "lang"))

    assert (table.column_names, table.num_rows) == (["id", "lang", "body", "role"], 0)


def test_the_columns_that_a_request_names() -> None:
    assert columns_named(RawRequest("json")) == ["json"]
    assert columns_named(lambda row: row) == []
    request = GenerateRequest(prompt="$a", media=["b", Media("c", mime_type_column="d")], config_column="e")
    assert columns_named(request) == ["a", "b", "c", "d", "e"]
    assert columns_named(EmbedRequest(text="${a}")) == ["a"]


def test_a_schema_as_text_names_no_column() -> None:
    schema = '{"$ref": "#/$defs/A", "$defs": {"A": {"type": "string", "pattern": "^${"}}}'

    assert columns_named(GenerateRequest(prompt="${a}", response_schema=schema)) == ["a"]


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, r"f\(\) returned nothing; return a pandas DataFrame"),
        ("Summarise this", r"f\(\) returned a value of type str"),
        ({"prompt": "x"}, r"f\(\) returned a value of type dict"),
        (["a", {"prompt": "b"}], r"begins with a value of type str and has a value of type dict at 1"),
        ([{"a": 1}, None], r"begins with a value of type dict and has nothing at 1"),
        ([{1: "a"}], r"a column called 1"),
        ([{"a": 1}, {"a": "x"}], r"column 'a' of the list that f\(\) returned has values of different types"),
    ],
)
def test_what_is_no_table_is_told(returned: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        table_of(returned)
