"""Columns from buffers hold what went in, and landing a shard does not import pandas."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.arrow import columns


@given(st.lists(st.text() | st.none()))
def test_strings(values: list[str | None]) -> None:
    array = columns.strings(values)

    array.validate(full=True)
    assert array.to_pylist() == values


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none()))
def test_integers(values: list[int | None]) -> None:
    array = columns.int64s(values)

    array.validate(full=True)
    assert (array.type, array.to_pylist()) == (pa.int64(), values)


@given(st.lists(st.booleans()))
def test_booleans(values: list[bool]) -> None:
    array = columns.bools(values)

    array.validate(full=True)
    assert array.to_pylist() == values


ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 11, 1, 12, 0, 0, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize("length", [0, 1, 9])
@pytest.mark.parametrize(
    ("make", "value"),
    [
        (columns.constant_string, "x"),
        (columns.constant_string, None),
        (columns.constant_int32, -3),
        (columns.constant_time, NOON),
    ],
)
def test_constants(make: Any, value: Any, length: int) -> None:
    array = make(value, length)

    array.validate(full=True)
    assert array.to_pylist() == [value] * length


LAND_ONE_ROW = """
import sys
from airflow_gemini_batch.engine.build.answer_index import write_index
from airflow_gemini_batch.engine.finish.balance import check_run
from airflow_gemini_batch.engine.collect.land import Ending, land
from tests.unit.engine.shard_files import answer, error, receive, run_at, write_shard

run = run_at(sys.argv[1])
shard = write_shard(run, ["a", "b"])
receive(run, shard, [answer("a"), error("b", 8)])
land(run, shard, Ending(job="batches/j1"))
assert check_run(run, [shard]).balanced
write_index(run, run.built(), run.index_file, finished_at="2026-11-01T00:00:00+00:00")
assert "pandas" not in sys.modules
"""


def test_landing_does_not_import_pandas(tmp_path: Path) -> None:
    # A process of its own: pandas is long imported in this one.
    done = subprocess.run(
        [sys.executable, "-c", LAND_ONE_ROW, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
