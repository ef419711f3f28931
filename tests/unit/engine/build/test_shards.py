"""Tables become request files and inputs files: the same for the same rows, cut before a limit, every row accounted for."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.build.shards import (
    Built,
    Digests,
    build_shards,
    digest_shards,
)
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder, compile_request
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tables import RESERVED_COLUMNS
from airflow_gemini_batch.engine.source.open import Source, open_source
from airflow_gemini_batch.engine.specs import GenerateRequest

PROMPT = GenerateRequest(prompt="Tell ${text}")


def encoder_for(source: Source, spec: Any = PROMPT) -> RequestEncoder:
    return compiled(source.schema, spec)


FINGERPRINTER = Fingerprinter("gemini-3.6-flash", {"prompt": ""})


@functools.cache
def compiled(schema: pa.Schema, spec: Any) -> RequestEncoder:
    return compile_request(spec, schema, "gemini-3.6-flash")


def build(
    folder: Path | str,
    table: Any,
    *,
    key: str | None = "id",
    carry: Sequence[str] = (),
    spec: Any = PROMPT,
    max_bytes: int = BatchOptions().max_shard_bytes,
    max_requests: int = 50_000,
    dedupe: bool = False,
) -> tuple[Run, tuple[Shard, ...]]:
    run = Run(locate(str(folder)))
    source = open_source(table)
    options = BatchOptions(max_shard_bytes=max_bytes, max_shard_requests=max_requests)
    encoder = encoder_for(source, spec)
    built = build_shards(
        source, encoder, run=run, key=key, carry=carry, options=options, fingerprinter=FINGERPRINTER, dedupe=dedupe
    )
    return run, built.shards


def lines_of(run: Run, shard: Shard) -> list[dict[str, Any]]:
    content = run.requests_file(shard.id).read()
    assert content.endswith(b"\n") or not content
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def inputs_of(run: Run, shard: Shard) -> pa.Table:
    return pa.ipc.open_file(run.inputs_file(shard.id).read()).read_all()


def files_of(folder: Path | str) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(Path(folder).rglob("*")) if file.is_file()}


def table(rows: int, *, fat: int = 0) -> pa.Table:
    return pa.table({"id": [f"k{row}" for row in range(rows)], "text": [f"t{row}" + "x" * fat for row in range(rows)]})


# --- what is written


def test_a_line_is_a_key_and_a_request(tmp_path: Path) -> None:
    run, (shard,) = build(tmp_path, table(2))

    assert lines_of(run, shard) == [
        {"key": f"k{row}", "request": {"contents": [{"parts": [{"text": f"Tell t{row}"}], "role": "user"}]}} for row in range(2)
    ]


def test_a_shard_tells_what_its_file_holds(tmp_path: Path) -> None:
    run, (shard,) = build(tmp_path, table(3))

    content = run.requests_file(shard.id).read()
    assert shard == Shard(0, rows=3, requests=3, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), attempt=0)


def test_the_inputs_file_has_every_row_in_order(tmp_path: Path) -> None:
    source = pa.table({"id": [3, 1, 2], "text": ["a", None, "c"], "n": [{"x": [1]}, None, {"x": None}], "unused": [1, 2, 3]})

    run, (shard,) = build(tmp_path, source, carry=["n", "id"])

    inputs = inputs_of(run, shard)
    assert inputs.schema.names == ["key", "request_sha256", "problem", "n", "id"]
    assert inputs.column("key").to_pylist() == ["3", "1", "2"]
    assert inputs.column("problem").to_pylist() == [None, "placeholder ${text} is null", None]
    assert inputs.column("n").to_pylist() == [{"x": [1]}, None, {"x": None}]
    assert inputs.column("id").type == pa.int64()
    assert not inputs.schema.field(0).nullable


def test_the_fingerprint_is_that_of_the_model_and_the_request_as_it_is_sent(tmp_path: Path) -> None:
    run, (shard,) = build(tmp_path, table(1))

    request = run.requests_file(shard.id).read().split(b'"request":', 1)[1].removesuffix(b"}\n")
    assert inputs_of(run, shard).column("request_sha256").to_pylist() == [
        hashlib.sha256(b"gemini-3.6-flash\n" + request).hexdigest()
    ]


def test_a_row_with_a_problem_is_in_the_inputs_alone(tmp_path: Path) -> None:
    run, (shard,) = build(tmp_path, pa.table({"id": ["a", "b", "c"], "text": ["x", None, "z"]}))

    assert (shard.rows, shard.requests) == (3, 2)
    assert [line["key"] for line in lines_of(run, shard)] == ["a", "c"]


@pytest.mark.parametrize("column", [pa.nulls(3, pa.string()), pa.nulls(3)])
def test_a_table_of_problems_is_a_shard_without_requests(tmp_path: Path, column: pa.Array) -> None:
    run, (shard,) = build(tmp_path, pa.table({"id": ["a", "b", "c"], "text": column}))

    assert (shard.rows, shard.requests, shard.bytes) == (3, 0, 0)
    assert lines_of(run, shard) == []


def test_an_empty_table_is_one_empty_shard(tmp_path: Path) -> None:
    run, shards = build(tmp_path, table(0), carry=["id"])

    assert [(shard.number, shard.rows, shard.requests, shard.bytes) for shard in shards] == [(0, 0, 0, 0)]
    assert inputs_of(run, shards[0]).schema.names == ["key", "request_sha256", "problem", "id"]


@pytest.mark.parametrize("key", ['quo"te', "new\nline", "\u2028", "😀", "back\\slash", "\0", "x" * 10_000, " "])
def test_a_key_may_be_any_text(tmp_path: Path, key: str) -> None:
    run, (shard,) = build(tmp_path, pa.table({"id": [key], "text": ["a"]}))

    assert [line["key"] for line in lines_of(run, shard)] == [key]
    assert inputs_of(run, shard).column("key").to_pylist() == [key]


def test_without_a_key_rows_are_numbered_across_shards(tmp_path: Path) -> None:
    run, shards = build(tmp_path, table(5), key=None, max_requests=2)

    assert [[line["key"] for line in lines_of(run, shard)] for shard in shards] == [["0", "1"], ["2", "3"], ["4"]]


def test_a_request_that_needs_no_column_is_made_for_every_row(tmp_path: Path) -> None:
    _, (shard,) = build(tmp_path, table(3), key=None, spec=GenerateRequest(prompt="A joke"))

    assert shard.requests == 3


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "a"]).dictionary_encode(),
        pa.array([b"\xff", None, b""]),
        pa.array([{"a": [1, None]}, None, {"a": None}]),
        pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        pa.array([1, None, 3], pa.timestamp("ns", "UTC")),
        pa.nulls(3),
    ],
    ids=lambda column: str(column.type),
)
def test_any_type_may_be_carried(tmp_path: Path, column: pa.Array) -> None:
    run, shards = build(tmp_path, pa.table({"text": ["a", "b", "c"], "c": column}), key=None, carry=["c"], max_requests=2)

    carried = pa.concat_tables([inputs_of(run, shard) for shard in shards]).column("c")
    assert carried.to_pylist() == column.to_pylist()


# --- cutting


@given(
    texts=st.lists(st.one_of(st.none(), st.text(max_size=60)), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    max_bytes=st.integers(70, 700),
    max_requests=st.integers(1, 9),
)
@settings(max_examples=40, deadline=None)
def test_the_same_rows_make_the_same_files_however_the_source_hands_them_out(
    texts: list[str | None], cuts: list[int], max_bytes: int, max_requests: int
) -> None:
    column = pa.array(texts, pa.string())
    whole = pa.table({"id": pa.array(range(len(texts)), pa.int32()), "text": column, "copy": column})
    ends = sorted({min(cut, len(texts)) for cut in cuts} | {len(texts)})
    parts = [whole.slice(a, b - a).combine_chunks() for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    stream = pa.RecordBatchReader.from_batches(whole.schema, [batch for part in parts for batch in part.to_batches()])

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        limits = {"max_bytes": max_bytes, "max_requests": max_requests, "carry": ["copy"]}
        run, shards = build(one, whole, **limits)  # type: ignore[arg-type]
        _, again = build(two, stream, **limits)  # type: ignore[arg-type]

        assert again == shards
        assert files_of(two) == files_of(one)
        for shard in shards:
            assert shard.bytes <= max_bytes
            assert shard.requests <= max_requests
        keys = [key for shard in shards for key in inputs_of(run, shard).column("key").to_pylist()]
        assert keys == [str(row) for row in range(len(texts))]
        source = open_source(whole)
        cut = [shard.rows for shard in shards]
        digests = digest_shards(source, encoder_for(source), key="id", cut=cut, max_bytes=max_bytes, fingerprinter=FINGERPRINTER)
        assert digests == Built(shards, None).digests


def test_a_shard_ends_before_the_row_that_would_pass_the_bytes(tmp_path: Path) -> None:
    line = build(tmp_path / "one", table(1))[1][0].bytes

    _, exact = build(tmp_path / "exact", table(4), max_bytes=2 * line)
    _, short = build(tmp_path / "short", table(4), max_bytes=2 * line - 1)

    assert [shard.bytes for shard in exact] == [2 * line, 2 * line]
    assert [shard.requests for shard in short] == [1, 1, 1, 1]


def test_rows_with_a_problem_do_not_count_as_requests(tmp_path: Path) -> None:
    source = pa.table({"id": range(9), "text": ["a", None, "b", None, "c", "d", None, "e", None]})

    _, shards = build(tmp_path, source, max_requests=2)

    assert [(shard.rows, shard.requests) for shard in shards] == [(4, 2), (3, 2), (2, 1)]


def test_rows_with_a_problem_do_not_make_an_endless_shard(tmp_path: Path) -> None:
    _, shards = build(tmp_path, pa.table({"id": range(20), "text": pa.nulls(20, pa.string())}), max_requests=2)

    assert [shard.rows for shard in shards] == [8, 8, 4]


def test_a_request_that_alone_is_too_large_is_a_problem_of_its_row(tmp_path: Path) -> None:
    source = pa.table({"id": ["a", "b", "c"], "text": ["x", "y" * 2000, "z"]})

    run, (shard,) = build(tmp_path, source, max_bytes=1000)

    assert [line["key"] for line in lines_of(run, shard)] == ["a", "c"]
    problem = inputs_of(run, shard).column("problem")[1].as_py()
    assert problem.startswith("the request makes a line of 2,080 bytes, and a shard holds at most 1,000 (max_shard_bytes). Send")


def test_large_tables_are_cut_inside_blocks_and_written_in_batches_that_can_be_mapped(tmp_path: Path) -> None:
    run, shards = build(tmp_path, table(10_000), max_requests=4500)

    assert [shard.rows for shard in shards] == [4500, 4500, 1000]
    reader = pa.ipc.open_file(run.inputs_file(shards[0].id).read())
    assert [reader.get_batch(number).num_rows for number in range(reader.num_record_batches)] == [4096, 404]


# --- recognising a run


def test_other_rows_have_another_digest(tmp_path: Path) -> None:
    _, shards = build(tmp_path, table(5), max_requests=2)
    cut = [shard.rows for shard in shards]
    was = Built(shards, None).digests

    def digests(other: pa.Table) -> Digests:
        source = open_source(other)
        return digest_shards(source, encoder_for(source), key="id", cut=cut, max_bytes=10_000, fingerprinter=FINGERPRINTER)

    assert digests(table(5)) == was
    assert digests(table(4)) != was
    assert digests(table(6)).shards[:3] == was.shards
    assert len(digests(table(6)).shards) == 4
    assert digests(table(5).take([1, 0, 2, 3, 4])) != was
    assert digests(table(0)) != was


# --- keys and carry


def test_doubled_keys_stop_the_build_across_shards(tmp_path: Path) -> None:
    doubled = pa.table({"id": ["a", "b", "c", "a"], "text": ["w", "x", "y", "z"]})

    with pytest.raises(InputError, match=r"The key column 'id' has duplicate keys: 'a' in rows 0 and 3 \("):
        build(tmp_path, doubled, max_requests=2)


def test_all_rows_without_a_key_are_found_however_far_apart(tmp_path: Path) -> None:
    ids = [None if row in (3, 9000) else str(row) for row in range(10_000)]

    with pytest.raises(InputError, match=r"row 3 is null, row 9000 is null \(counted from 0; these are all\)"):
        build(tmp_path, pa.table({"id": ids, "text": ids}))


def test_a_build_that_stops_leaves_no_half_written_file(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        build(tmp_path, pa.table({"id": ["a", None], "text": ["x", "y"]}))

    assert files_of(tmp_path) == {}


def test_a_source_that_fails_while_it_is_read_is_no_write_error(tmp_path: Path) -> None:
    def torn() -> Iterator[pa.RecordBatch]:
        yield table(1).to_batches()[0]
        raise PermissionError(13, "Permission denied", "part-2")

    with pytest.raises(InputError, match=r"Cannot read iterator of record batches: PermissionError: .*part-2"):
        build(tmp_path, torn())

    assert files_of(tmp_path) == {}


@pytest.mark.parametrize("name", sorted(RESERVED_COLUMNS))
def test_a_carried_column_may_not_take_the_name_of_one_that_comes_out(tmp_path: Path, name: str) -> None:
    source = (
        pa.table({"id": ["a"], "text": ["x"]}).append_column(name + "_", pa.array(["y"])).rename_columns(["id", "other", name])
    )

    with pytest.raises(InputError, match=f"carry names '{name}', which results or dead_letter have"):
        build(tmp_path, source, carry=[name], spec=GenerateRequest(prompt="${other}"))


def test_the_key_is_not_carried_a_second_time_under_its_own_name(tmp_path: Path) -> None:
    run, (shard,) = build(tmp_path, table(1).rename_columns(["key", "text"]), key="key", carry=["key"])

    assert inputs_of(run, shard).schema.names == ["key", "request_sha256", "problem"]


@pytest.mark.parametrize(
    ("carry", "message"),
    [
        (["nope"], "carry names a column that the source does not have: 'nope'"),
        ("id", "carry is 'id'; expected a list"),
        (["id", "id"], "carry names 'id' more than once"),
    ],
)
def test_a_carry_that_cannot_be_is_an_error(tmp_path: Path, carry: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(tmp_path, table(1), carry=carry)


def test_a_missing_key_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"key names a column that the source does not have: 'ids'\. It has: 'id', 'text'"):
        build(tmp_path, table(1), key="ids")


def test_a_shard_on_an_object_store_is_the_same() -> None:
    run, (shard,) = build("memory://bucket/run", table(3), carry=["id"])

    assert len(lines_of(run, shard)) == 3
    assert inputs_of(run, shard).num_rows == 3
    assert os.path.basename(run.requests_file(shard.id).path) == "shard-00000-0.jsonl"
