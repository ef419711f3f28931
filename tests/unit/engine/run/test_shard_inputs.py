"""Files of a shard that are absent, torn or another's: named, and never believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from tests.unit.engine.shard_files import answer, receive, run_at, write_shard

WELL = Ending(job="batches/j1")
PART = ShardAttempt(0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_at(tmp_path)


def test_absent_inputs_are_named(run: Run) -> None:
    shard = write_shard(run, ["a"])
    run.inputs_file(PART).delete()

    with pytest.raises(CorruptRunError, match=r"shard-00000-0\.arrow is absent"):
        land(run, shard, WELL)


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0 and then nothing", b"x" * 1000])
def test_torn_inputs_are_named(run: Run, content: bytes) -> None:
    shard = write_shard(run, ["a"])
    run.inputs_file(PART).write(content)

    with pytest.raises(CorruptRunError, match=r"shard-00000-0\.arrow is torn"):
        land(run, shard, WELL)


def test_inputs_with_other_rows_are_not_this_shards(run: Run) -> None:
    shard = write_shard(run, ["a"])
    write_shard(run, ["a", "b"])

    with pytest.raises(CorruptRunError, match="holds 2 rows, the manifest says 1"):
        land(run, shard, WELL)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'{"key":"a","request":{}}\n', "line 2: expected the request of row 'b', found the end of the file"),
        (b'{"key":"a","request":{}}\n{"key":"c","request":{}}\n', "found the request of 'c'"),
        (b'{"key":"a","request":{}}\n{"key":"b","requ\n', "found no request"),
    ],
)
def test_a_letter_is_never_given_another_rows_request(run: Run, content: bytes, found: str) -> None:
    shard = write_shard(run, ["a", "b"])
    receive(run, shard, [answer("a")])
    run.requests_file(PART).write(content)

    with pytest.raises(CorruptRunError, match=found):
        land(run, shard, WELL)

    assert not run.dead_letter_part(PART).exists()
