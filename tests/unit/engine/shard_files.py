"""Shards on a disk, made by the writer that makes them in a run, and output lines as the service writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.build.shards import ShardWriter
from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, SourceInfo
from airflow_gemini_batch.engine.run.storage import Location, locate


def run_at(uri: str | Path, request: dict[str, Any] | None = None) -> Run:
    """A run whose manifest holds that request."""
    run = Run(locate(str(uri)))
    ask_anew(run, request or {})
    return run


def ask_anew(run: Run, request: dict[str, Any]) -> None:
    """Another request in the manifest of the run."""
    manifest = Manifest("r", "m", SourceInfo("a table", None), request, None, (), (), "2026-11-01T00:00:00+00:00")
    run.manifest_file.write(msgspec.json.encode(manifest))


def write_shard(
    run: Run,
    keys: Sequence[str],
    *,
    problems: Sequence[str] = (),
    carried: pa.Table | None = None,
    part: ShardAttempt | None = None,
    block_rows: int = 4096,
) -> Shard:
    """A shard of these rows; those in ``problems`` have no request."""
    requests = [InvalidRow(f"no text in {key}") if key in problems else b'{"ask":%b}' % json.dumps(key).encode() for key in keys]
    schema = carried.schema if carried is not None else pa.schema([])
    with ShardWriter(run, part or ShardAttempt(0), schema) as writer:
        for start in range(0, len(keys), block_rows):
            block = slice(start, start + block_rows)
            columns = carried.slice(start, block_rows).combine_chunks().to_batches()[0] if carried is not None else None
            writer.write(Rows.of(keys[block], Encoded.of(requests[block]), columns, 1 << 30, Fingerprinter("m", {})))
    return writer.shard


def receive(run: Run, shard: Shard, lines: Iterable[bytes], end: bytes = b"\n") -> None:
    run.responses_file(shard.id).write(b"".join(line + end for line in lines))


def answer(key: str, text: str | None = None, **usage: int) -> bytes:
    """The text names the key unless said otherwise, so that a misjoined answer shows."""
    candidate = {"content": {"parts": [{"text": f"about {key}" if text is None else text}]}, "finishReason": "STOP"}
    response = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}
    return json.dumps({"response": response, "key": key}, ensure_ascii=False).encode()


def error(key: str, code: int) -> bytes:
    return json.dumps({"key": key, "error": {"code": code, "message": f"refused {key}"}}).encode()


def rows_of(file: Location) -> list[dict[str, Any]]:
    with file.open() as opened:
        rows: list[dict[str, Any]] = pq.read_table(opened).to_pylist()
        return rows
