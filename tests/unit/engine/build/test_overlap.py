"""A table that is built by threads has the bytes of one that is built row after row, and stops cleanly where one would."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Manifest, Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.source.blocks import MAX_BLOCK_ROWS
from airflow_gemini_batch.engine.specs import GenerateRequest

MODEL = "gemini-3.6-flash"
REQUEST = GenerateRequest(prompt="In ${lang}: ${text}")

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
ROWS = st.lists(st.tuples(st.none() | TEXTS, st.sampled_from(["de", "en"])), max_size=40)


def built(folder: Path, table: Any, request: Any = REQUEST, *, shard_rows: int = 7, **spec: Any) -> tuple[Run, Manifest]:
    run = Run(locate(str(folder)))
    spec = {"key": "id", "carry": ("lang",), **spec}
    return run, build_run(run, RunSpec(table, request, MODEL, **spec), BatchOptions(max_shard_requests=shard_rows))


def table_of(rows: list[tuple[str | None, str]], copies: int = 1) -> pa.Table:
    texts, langs = [row[0] for row in rows] * copies, [row[1] for row in rows] * copies
    ids = [f"id {number} \"'\\" for number in range(len(texts))]
    columns = {"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.string()), "lang": pa.array(langs, pa.string())}
    return pa.table(columns)


def row_after_row(table: pa.Table) -> list[str]:
    """The lines, as the documentation of the requests file says them."""
    lines = []
    for row in table.to_pylist():
        if row["text"] is not None:
            parts = [{"text": f"In {row['lang']}: {row['text']}"}]
            line = {"key": row["id"], "request": {"contents": [{"parts": parts, "role": "user"}]}}
            lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
    return lines


def requests_of(run: Run, manifest: Manifest) -> list[bytes]:
    return [run.requests_file(shard.id).read() for shard in manifest.shards]


@settings(deadline=None, max_examples=25)
@given(rows=ROWS, copies=st.sampled_from([1, 3]))
def test_the_lines_and_digests_are_those_of_a_plain_loop(rows: list[tuple[str | None, str]], copies: int) -> None:
    table = table_of(rows, copies)
    with tempfile.TemporaryDirectory() as folder:
        run, manifest = built(Path(folder) / "run", table, dedupe=False)
        contents = requests_of(run, manifest)

    assert [json.loads(line) for line in b"".join(contents).splitlines(keepends=True)] == list(
        map(json.loads, row_after_row(table))
    )
    assert [shard.sha256 for shard in manifest.shards] == [hashlib.sha256(content).hexdigest() for content in contents]
    assert [shard.bytes for shard in manifest.shards] == [len(content) for content in contents]
    assert sum(shard.rows for shard in manifest.shards) == table.num_rows


#: What the build made of this table when it was one loop in one thread.
GOLDEN = {
    "plain": "02643e95a51357b5",
    "dedupe": "e80fde5445394537",
    "repeats": "d7772b61369dcc99",
    "callable": "33fe91652e496a7e",
}


def by_hand(row: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": row["text"] or "none"}]}]}


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_table_of_several_blocks_has_the_bytes_that_it_had_before_threads(kind: str, tmp_path: Path) -> None:
    specs: dict[str, dict[str, Any]] = {
        "plain": {"dedupe": False},
        "dedupe": {"dedupe": True},
        "repeats": {"repeats": 3},
        "callable": {"request": by_hand, "dedupe": False},
    }
    texts = [
        None if number % 97 == 0 else f'{number % 5000} "\\\n\x01\t é 日本 😀 \u2028' for number in range(3 * MAX_BLOCK_ROWS + 5)
    ]
    table = table_of([(text, ("de", "en")[place % 2]) for place, text in enumerate(texts)])

    run, manifest = built(tmp_path / "run", table, shard_rows=5_000, **specs[kind])

    digest = hashlib.sha256()
    for shard in manifest.shards:
        digest.update(f"{shard.number} {shard.rows} {shard.requests} {shard.duplicates} {shard.bytes} {shard.sha256}\n".encode())
        inputs = pa.ipc.open_file(run.inputs_file(shard.id).read()).read_all()
        digest.update(json.dumps(inputs.to_pydict()).encode())
    digest.update(str(manifest.duplicates_sha256).encode())
    assert digest.hexdigest()[:16] == GOLDEN[kind]


def test_users_code_is_called_in_the_thread_that_builds(tmp_path: Path) -> None:
    threads: set[threading.Thread] = set()
    rows = pa.table({"id": [str(number) for number in range(2 * MAX_BLOCK_ROWS)]})

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows.to_batches(max_chunksize=1000):
            threads.add(threading.current_thread())
            yield batch

    def request(row: dict[str, Any]) -> dict[str, Any]:
        threads.add(threading.current_thread())
        return {"contents": [{"parts": [{"text": row["id"]}]}]}

    source = pa.RecordBatchReader.from_batches(rows.schema, batches())
    built(tmp_path / "run", source, request, shard_rows=50_000, carry=())

    assert threads == {threading.current_thread()}


def test_a_source_that_breaks_off_leaves_no_shard_that_was_begun_and_no_thread(tmp_path: Path) -> None:
    rows = pa.table({"id": [str(number) for number in range(3 * MAX_BLOCK_ROWS)]})

    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches()
        raise OSError("the connection broke")

    source = pa.RecordBatchReader.from_batches(rows.schema, batches())
    before = set(threading.enumerate())
    with pytest.raises(InputError, match="the connection broke"):
        built(tmp_path / "run", source, GenerateRequest(prompt="${id}"), shard_rows=50_000, carry=())

    assert set(threading.enumerate()) <= before
    assert list((tmp_path / "run").rglob("*.jsonl")) == []
    assert list((tmp_path / "run").rglob("*.arrow")) == []
    assert not (tmp_path / "run/_run/manifest.json").exists()


def test_a_disk_that_fails_while_a_shard_is_written_ends_the_build(tmp_path: Path) -> None:
    """A file lies where the folder of the requests should be."""
    (tmp_path / "run/_run").mkdir(parents=True)
    (tmp_path / "run/_run/requests").write_text("in the way")
    before = set(threading.enumerate())

    with pytest.raises(Exception, match="requests"):
        built(tmp_path / "run", table_of([("a", "de")] * 20))

    assert set(threading.enumerate()) <= before
    assert not (tmp_path / "run/_run/manifest.json").exists()
