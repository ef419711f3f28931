"""Both tables, opened part by part and as whole folders with what people read Parquet with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pydantic
import pytest

from airflow_gemini_batch import __version__
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RequestSpec
from tests.unit.engine.arrow.any_type import LEAVES, NESTINGS, column_of

pytestmark = pytest.mark.integration

ROWS = 12
MODEL = "gemini-3.6-flash"


def columns_of_every_type() -> pa.Table:
    """A column of each type alone and nested. Times are in the years that Python's dates have, which pandas needs."""
    columns: dict[str, Any] = {"id": pa.array([f"k{number}" for number in range(ROWS)])}
    for place, (type, leaf) in enumerate(LEAVES):
        values = 2 if pa.types.is_date(type) else 1 if pa.types.is_timestamp(type) else ROWS
        for nesting in ("alone", *NESTINGS):
            column = column_of(lambda leaf=leaf, values=values: leaf().slice(0, values), [] if nesting == "alone" else [nesting])  # type: ignore[misc]
            columns[f"{place} {nesting}"] = pa.chunked_array([column] * ROWS).slice(0, ROWS)
    return pa.table(columns)


class Answer(pydantic.BaseModel):
    name: str
    tags: list[str]


def _pandas(path: Path) -> tuple[int, list[str], list[str]]:
    frame = pd.read_parquet(path)
    return len(frame), list(frame["key"]), list(frame.columns)


def _polars(path: Path) -> tuple[int, list[str], list[str]]:
    frame = pl.read_parquet(path / "*.parquet" if path.is_dir() else path)
    return len(frame), frame["key"].to_list(), frame.columns


def _duckdb(path: Path) -> tuple[int, list[str], list[str]]:
    found = duckdb.read_parquet(str(path / "*.parquet" if path.is_dir() else path))
    rows = found.fetchall()
    return len(rows), [row[0] for row in rows], found.columns


def _dataset(path: Path) -> tuple[int, list[str], list[str]]:
    table = ds.dataset(path, format="parquet").to_table()
    return table.num_rows, table.column("key").to_pylist(), table.column_names


READERS: dict[str, Callable[[Path], tuple[int, list[str], list[str]]]] = {
    "pandas": _pandas,
    "polars": _polars,
    "duckdb": _duckdb,
    "pyarrow.dataset": _dataset,
}

REQUESTS: dict[str, tuple[RequestSpec, str]] = {
    "text": (GenerateRequest(prompt="Repeat: ${id}"), MODEL),
    "structured": (GenerateRequest(prompt="Repeat: ${id}", response_schema=Answer), MODEL),
    "tools": (GenerateRequest(prompt="Repeat: ${id}", config={"tools": [{"google_search": {}}, {"code_execution": {}}]}), MODEL),
    "embeddings": (EmbedRequest(text="${id}"), "gemini-embedding-2"),
}


@pytest.fixture(params=REQUESTS)
def run(request: pytest.FixtureRequest, emulator: Emulator, go: Callable[..., Summary], tmp_path: Path) -> tuple[Path, Summary]:
    """A run with a column of every type, a row that is resubmitted and one that is not."""
    emulator.faults.add(RowFault(do="error", keys=("k1",), code=8), RowFault(do="error", keys=("k2",), code=3))
    asked, model = REQUESTS[request.param]
    source = columns_of_every_type()
    summary = go(source=source, request=asked, model=model, carry=source.schema.names[1:], max_redrives=1)
    return tmp_path / "run", summary


def test_every_reader_reads_every_part_and_both_folders(run: tuple[Path, Summary]) -> None:
    destination, summary = run
    for table, counted in (("results", summary.results), ("dead_letter", summary.dead_letter)):
        parts = sorted((destination / table).glob("*.parquet"))
        schema = pq.read_schema(parts[0])
        assert len(parts) >= 4
        for name, read in READERS.items():
            rows = 0
            for part in parts:
                found, _, columns = read(part)
                rows += found
                assert (name, columns) == (name, schema.names)
            assert (name, rows) == (name, counted)
            whole, keys, columns = read(destination / table)
            assert (name, whole, columns) == (name, counted, schema.names)
            assert len(set(keys)) == counted
    assert summary.rows == ROWS


def test_every_part_has_the_same_schema_and_says_where_it_comes_from(run: tuple[Path, Summary]) -> None:
    destination, summary = run
    for table in ("results", "dead_letter"):
        schemas = [pq.read_schema(part) for part in (destination / table).glob("*.parquet")]
        assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
        metadata: dict[bytes, bytes] = schemas[0].metadata
        assert metadata[b"gemini_batch.run_id"].decode() == summary.run_id
        assert metadata[b"gemini_batch.model"].decode() == summary.model
        assert metadata[b"gemini_batch.version"].decode() == __version__
        assert len(metadata[b"gemini_batch.request_sha256"]) == 64


def test_times_are_read_by_engines_without_nanoseconds(go: Callable[..., Summary], tmp_path: Path) -> None:
    at = pd.Timestamp("2026-01-02T03:04:05.000006")
    go(source=pa.table({"id": ["k0"], "body": ["x"], "at": pa.array([at], pa.timestamp("ns"))}), carry=["at"])

    found = duckdb.read_parquet(str(tmp_path / "run" / "results" / "*.parquet")).select("key", '"at"')
    assert (str(found.types[1]), found.fetchall()) == ("TIMESTAMP", [("k0", at.to_pydatetime())])
