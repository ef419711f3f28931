"""The writer of a shard by itself, as a second attempt uses it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.build.shards import ShardWriter
from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from airflow_gemini_batch.engine.run.shard_inputs import opened
from airflow_gemini_batch.engine.run.storage import locate


def test_the_writer_serves_any_attempt(tmp_path: Path) -> None:
    run = Run(locate(str(tmp_path)))
    carried = pa.record_batch({"c": [1, 2]})

    with ShardWriter(run, ShardAttempt(3, 1), carried.schema) as writer:
        writer.write(Rows.of(["a", "b"], Encoded.of([b'{"x":1}', InvalidRow("no")]), carried, 1000, Fingerprinter("m", {})))

    shard = writer.shard
    assert (shard.number, shard.attempt, shard.rows, shard.requests) == (3, 1, 2, 1)
    assert run.requests_file(ShardAttempt(3, 1)).read() == b'{"key":"a","request":{"x":1}}\n'
    with opened(run.inputs_file(shard.id)) as inputs:
        assert inputs.read_all().to_pylist() == [
            {"key": "a", "request_sha256": hashlib.sha256(b'm\n{"x":1}').hexdigest(), "problem": None, "c": 1},
            {"key": "b", "request_sha256": None, "problem": "no", "c": 2},
        ]


def test_nothing_of_a_shard_appears_when_writing_it_fails(tmp_path: Path) -> None:
    run = Run(locate(str(tmp_path)))
    other = pa.record_batch({"c": [1]})

    with pytest.raises(ValueError, match="schema"), ShardWriter(run, ShardAttempt(0), pa.schema([])) as writer:
        writer.write(Rows.of(["a"], Encoded.of([b"{}"]), other, 1000, Fingerprinter("m", {})))

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
