"""The table of the example DAGs: the same rows every time, and some without documentation."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.examples import stdlib


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str | None]]:
    return list(stdlib.rows())


def test_it_is_a_table_worth_a_batch(rows: list[dict[str, str | None]]) -> None:
    undocumented = [row for row in rows if row["documentation"] is None]

    assert len(rows) > 5_000
    assert 500 < len(undocumented) < 2_000
    assert {row["kind"] for row in rows} == {"class", "function", "method"}


def test_every_row_has_a_name_of_its_own(rows: list[dict[str, str | None]]) -> None:
    assert len({row["qualified_name"] for row in rows}) == len(rows)


def test_a_row_tells_what_help_would(rows: list[dict[str, str | None]]) -> None:
    [row] = [row for row in rows if row["qualified_name"] == "textwrap.shorten"]

    assert row["signature"] == "(text, width, **kwargs)"
    assert (row["documentation"] or "").startswith("Collapse and truncate the given text")


def test_only_documentation_is_ever_null(rows: list[dict[str, str | None]]) -> None:
    assert {name for row in rows for name, value in row.items() if value is None} == {"documentation"}


def test_no_signature_shows_an_object_of_this_process(rows: list[dict[str, str | None]]) -> None:
    assert [row for row in rows if re.search(r" at 0x|<.*object|environ\(", row["signature"] or "")] == []


def test_two_processes_collect_the_same_rows(tmp_path: Path) -> None:
    code = "import sys; from airflow_gemini_batch.examples.stdlib import collect_stdlib; collect_stdlib(sys.argv[1])"
    files = [tmp_path / f"{seed}.parquet" for seed in range(2)]

    for seed, file in enumerate(files):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", code, str(file)], check=True, env=environment, timeout=60)

    first, second = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    assert first == second


def test_the_table_is_written_where_it_was_asked_for(tmp_path: Path, rows: list[dict[str, str | None]]) -> None:
    file = str(tmp_path / "not" / "yet" / "there.parquet")

    assert stdlib.collect_stdlib(file) == file

    table = pq.read_table(file)
    assert table.schema.equals(stdlib.SCHEMA)
    assert table["qualified_name"].to_pylist() == [row["qualified_name"] for row in rows]


def test_importing_the_library_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    code = "from airflow_gemini_batch.examples import stdlib; list(stdlib.modules())"

    subprocess.run([sys.executable, "-W", "default", "-c", code], check=True, timeout=60)

    assert "Zen" not in (said := capfd.readouterr()).out
    assert "DeprecationWarning" not in said.err
