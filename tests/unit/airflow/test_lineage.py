"""The names and facets that OpenLineage gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch import GeminiBatchFinishOperator, GeminiBatchOperator, GeminiBatchRedriveOperator
from airflow_gemini_batch.operators._lineage import HasLineage, dataset_name, source_uris


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://lake/summaries/day=1", ("s3://lake", "summaries/day=1")),
        ("s3://aws_default@lake/summaries", ("s3://lake", "summaries")),
        ("gs://lake/x.parquet", ("gs://lake", "x.parquet")),
        ("/data/x.parquet", ("file", "/data/x.parquet")),
        ("file:///data/x.parquet", ("file", "/data/x.parquet")),
        ("x.parquet", ("file", os.path.abspath("x.parquet"))),
    ],
)
def test_datasets_are_named_by_the_rules_of_openlineage(uri: str, name: tuple[str, str]) -> None:
    assert dataset_name(uri) == name


@pytest.mark.parametrize(
    ("source", "uris"),
    [
        ("s3://lake/a", ["s3://lake/a"]), (["a", Path("b")], ["a", "b"]), ([{"id": 1}], []), (None, []), (object(), []),
    ],
)  # fmt: skip
def test_a_table_in_memory_has_no_name(source: Any, uris: list[str]) -> None:
    assert list(source_uris(source)) == uris


@pytest.mark.parametrize("operator", [GeminiBatchOperator, GeminiBatchFinishOperator, GeminiBatchRedriveOperator])
def test_operators_that_write_tables_report_them(operator: type) -> None:
    assert issubclass(operator, HasLineage)
