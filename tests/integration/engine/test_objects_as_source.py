"""Whole runs of DataFrames and lists of dicts with values that Arrow cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import GenerateRequest

pytestmark = pytest.mark.integration

ROWS: list[dict[str, Any]] = [
    {"id": "a", "body": "one", "meta": "x", "odd": 1},
    {"id": "b", "body": "cut emoji \ud83d", "meta": "y", "odd": "text"},
    {"id": "c", "body": "three", "meta": "z \udc00", "odd": {"n": 1}},
]


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]})


@pytest.mark.parametrize("form", [frame, list])
def test_a_lone_surrogate_costs_one_dead_letter(form: Callable[[Any], Any], go: Callable[..., Summary], tmp_path: Path) -> None:
    summary = go(source=form(ROWS), carry=["meta"])

    assert (summary.rows, summary.results, summary.dead_letter) == (3, 2, 1)
    dead = pq.read_table(tmp_path / "run" / "dead_letter").to_pylist()
    assert [(row["key"], row["reason"]) for row in dead] == [("b", "INVALID_INPUT")]
    assert "half of a surrogate pair" in dead[0]["message"]
    carried = pq.read_table(tmp_path / "run" / "results").to_pylist()
    assert {row["key"]: row["meta"] for row in carried} == {"a": "x", "c": "z \ufffd\ufffd\ufffd"}
    assert go(source=form(ROWS), carry=["meta"]).results == 2


@pytest.mark.parametrize("form", [frame, list])
def test_a_column_of_many_types_is_refused_where_it_is_used(form: Callable[[Any], Any], go: Callable[..., Summary]) -> None:
    for used in ({"carry": ["odd"]}, {"key": "odd"}, {"request": GenerateRequest(prompt="${odd}")}):
        with pytest.raises(InputError, match=r"The column 'odd' of the .* has values of different types"):
            go(source=form(ROWS), **used)


def test_an_empty_list_is_a_table_without_rows(go: Callable[..., Summary]) -> None:
    assert go(source=[], carry=["meta"]).rows == 0
