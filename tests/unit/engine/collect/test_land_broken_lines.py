"""Broken lines cost no row, and decide about no row that they do not certainly belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from tests.unit.engine.shard_files import answer, error, receive, rows_of, run_at, write_shard

WELL = Ending("batches/x")
PART = ShardAttempt(0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_at(tmp_path / "run")


def test_a_broken_byte_costs_one_character_and_no_row(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    receive(run, shard, [line.replace(b"about", b"\xff").replace(b"refused", b"\xff") for line in (answer("a"), error("b", 3))])

    land(run, shard, WELL)

    [row] = rows_of(run.results_part(PART))
    assert row["text"].startswith("\ufffd")
    assert "\ufffd" in row["response"]
    [dead_letter] = rows_of(run.dead_letter_part(PART))
    assert (dead_letter["reason"], dead_letter["code"]) == ("REQUEST_ERROR", 3)
    assert dead_letter["message"].startswith("\ufffd")


@pytest.mark.parametrize(
    "key", [b"NaN", b"null", b"7.0", b"[]", b'{"a":1}', b"1e999", b'"a","key":"b"', b'"a","metadata":{"key":"b"}']
)
def test_a_line_without_one_certain_key_decides_about_no_row(key: bytes, run: Run) -> None:
    keys = ["a", "b", "nan", "NaN", "None", "null", "7", "7.0", "[]", "inf", "Infinity", '{"a":1}', "{'a': 1}"]
    shard = write_shard(run, keys)
    receive(run, shard, [answer("?").replace(b'"?"', key)])

    landed = land(run, shard, WELL)

    assert (landed.results, landed.reasons, landed.aside["malformed"]) == (0, {"MISSING": len(keys)}, 1)
