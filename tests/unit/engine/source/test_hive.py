"""Folders called ``name=value`` become columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source.open import open_source
from tests.unit.engine.source.test_files import rows, write_parquet


@pytest.mark.parametrize("where", ["", "/lang=*/*/*.parquet"])
def test_hive_folders_make_columns(tmp_path: Path, where: str) -> None:
    for lang, month in (("de", "01"), ("en", "02")):
        write_parquet(tmp_path / f"lang={lang}" / f"month={month}" / "p.parquet", a=[1])

    assert rows(open_source(f"{tmp_path}{where}")) == [
        {"a": 1, "lang": "de", "month": "01"},
        {"a": 1, "lang": "en", "month": "02"},
    ]


def test_hive_values_are_unquoted_null_and_integers_where_nothing_is_lost(tmp_path: Path) -> None:
    for year, name in (("2025", "a%2Fb%20c"), ("2026", "__HIVE_DEFAULT_PARTITION__")):
        write_parquet(tmp_path / f"year={year}" / f"name={name}" / "p.parquet", a=[1])

    assert rows(open_source(tmp_path), ["year", "name"]) == [{"year": 2025, "name": "a/b c"}, {"year": 2026, "name": None}]


def test_a_hive_column_alone_has_a_value_for_every_row(tmp_path: Path) -> None:
    write_parquet(tmp_path / "lang=de" / "p.parquet", a=[1, 2, 3])

    assert rows(open_source(tmp_path), ["lang"]) == [{"lang": "de"}] * 3


@pytest.mark.parametrize(
    ("column", "folder"),
    [
        (pa.array([1, 1]), "1"),
        (pa.array([1]), "01"),
        (pa.array(["de"]), "de"),
        (pa.array(["de"]).dictionary_encode(), "de"),
        (pa.array([None], pa.string()), "__HIVE_DEFAULT_PARTITION__"),
        (pa.array([20_000], pa.int32()).cast(pa.date32()), "2024-10-04"),
        (pa.array([1.5]), "1.50"),
        (pa.array([True]), "true"),
        (pa.array([0], pa.timestamp("us")), "1970-01-01%2000%3A00%3A00"),
    ],
    ids=str,
)
def test_a_hive_column_that_files_hold_too_is_the_files(tmp_path: Path, column: pa.Array, folder: str) -> None:
    write_parquet(tmp_path / f"a={folder}" / "p.parquet", a=column, b=[1] * len(column))

    source = open_source(tmp_path)

    assert source.schema.names == ["a", "b"]
    assert [row["a"] for row in rows(source)] == column.to_pylist()


@pytest.mark.parametrize(("value", "folder"), [(2, "1"), ("en", "de"), (None, "1")])
def test_a_file_that_contradicts_its_hive_folder_is_refused(tmp_path: Path, value: Any, folder: str) -> None:
    column = pa.array([value], pa.int64()) if value is None else pa.array([value])
    write_parquet(tmp_path / f"a={folder}" / "p.parquet", a=column, b=[1])

    with pytest.raises(InputError, match=rf"p\.parquet: its folder says a={folder}, and its column 'a' holds '?{value}"):
        rows(open_source(tmp_path))
