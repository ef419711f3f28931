"""Rows that are set aside come back in any order, and their digest says which they were."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.build import set_aside
from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.build.set_aside import KEY, SOURCE_ROW, SetAside, rows_at_a_time, rows_in

SCHEMA = pa.schema([("body", pa.string())])


def block(keys: list[str], first_row: int = 0) -> Rows:
    nothing = pa.nulls(len(keys), pa.string())
    inputs = pa.record_batch(
        {"key": keys, "request_sha256": nothing, "problem": nothing, "body": [f"body of {key}" for key in keys]}
    )
    return Rows(pa.nulls(len(keys), pa.large_binary()), inputs, source_rows=np.arange(first_row, first_row + len(keys)))


def digest(*blocks: list[str]) -> str:
    with SetAside(None) as rows:
        for keys in blocks:
            places = np.arange(len(keys))
            rows.add(block(keys), places, places, np.zeros(len(keys), np.int64))
        return rows.digest


def test_rows_come_back_in_the_order_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_aside, "_BATCH_ROWS", 10)
    numbers = np.random.default_rng(3).permutation(50)
    with SetAside(SCHEMA) as rows:
        for start in range(0, 100, 4):  # of each block two rows
            rows.add(
                block([f"k{row}" for row in range(start, start + 4)], start), np.array([1, 3]), np.array([0, 0]), np.zeros(2)
            )
        with rows.opened() as found:
            assert len(found.batches) == 5
            taken = rows_in(found, numbers)
    assert taken.column(KEY).to_pylist() == [f"k{2 * number + 1}" for number in numbers]
    assert taken.column("body").to_pylist() == [f"body of k{2 * number + 1}" for number in numbers]
    assert taken.column(SOURCE_ROW).to_pylist() == (2 * numbers + 1).tolist()


def test_the_digest_tells_keys_with_line_breaks_apart() -> None:
    assert digest(["a\nb", "c"]) == digest(["a\nb", "c"])
    assert len({digest(["a\nb", "c"]), digest(["a", "b\nc"]), digest(["a", "bc"])}) == 3


def test_the_digest_is_the_same_in_blocks_of_any_size() -> None:
    assert digest(["a", "bc", "d"]) == digest(["a"], ["bc", "d"]) == digest(["a"], ["bc"], ["d"])


def test_large_rows_are_taken_out_a_few_at_a_time() -> None:
    assert [rows_at_a_time(1000, size) for size in (0, 100, 1 << 20, 1 << 30)] == [1000, 1000, 8, 1]
