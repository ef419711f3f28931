"""The tables' columns, and parts that are whole or absent whatever goes wrong, in whichever thread."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run import tables as sinks
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.run.tables import RESERVED_COLUMNS, PartWriter, dead_letter_schema, results_schema

SCHEMA = pa.schema([("key", pa.string())])
CARRY = pa.schema([("n", pa.int8()), ("tags", pa.list_(pa.string()))])


def batch(*keys: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"key": list(keys)}, schema=SCHEMA)


def write_and_fail(file: Location) -> None:
    with PartWriter(file, SCHEMA) as part:
        part.write(batch("a"))
        raise RuntimeError("the caller's own")


@pytest.fixture
def file(tmp_path: Path) -> Location:
    return locate(str(tmp_path / "results" / "part-00000-0.parquet"))


def test_results_have_the_public_columns_in_their_order() -> None:
    assert [(field.name, str(field.type)) for field in results_schema(CARRY)] == [
        ("key", "string"), ("n", "int8"), ("tags", "list<item: string>"), ("text", "string"), ("finish_reason", "string"),
        ("prompt_tokens", "int64"), ("output_tokens", "int64"), ("thoughts_tokens", "int64"), ("cached_tokens", "int64"),
        ("tool_tokens", "int64"), ("total_tokens", "int64"), ("cost_usd", "double"), ("paid_by", "string"),
        ("reused_from", "string"),
        ("model_version", "string"), ("response_id", "string"), ("response", "string"), ("request_sha256", "string"),
        ("job", "string"), ("shard", "int32"), ("attempt", "int32"),
    ]  # fmt: skip
    assert "response" not in results_schema(CARRY, keep_response=False).names


def test_dead_letters_have_the_public_columns_in_their_order() -> None:
    assert [(field.name, str(field.type)) for field in dead_letter_schema(CARRY)] == [
        ("key", "string"), ("n", "int8"), ("tags", "list<item: string>"), ("reason", "string"), ("code", "int32"),
        ("status", "string"), ("message", "string"), ("retryable", "bool"), ("request", "string"), ("response", "string"),
        ("cost_usd", "double"), ("paid_by", "string"), ("request_sha256", "string"), ("job", "string"), ("shard", "int32"),
        ("attempt", "int32"),
        ("failed_at", "timestamp[us, tz=UTC]"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(RESERVED_COLUMNS))
def test_a_carried_column_may_not_have_the_name_of_a_column_of_either_table(name: str) -> None:
    carry = pa.schema([(name, pa.string())])

    with pytest.raises(InputError, match=f"Cannot carry '{name}'"):
        results_schema(carry)
    with pytest.raises(InputError):
        dead_letter_schema(carry)


def test_what_a_request_adds_is_taken_too() -> None:
    carry = pa.schema([("media", pa.string())])

    assert "media" in results_schema(carry).names
    with pytest.raises(InputError, match="Cannot carry 'media'"):
        results_schema(carry, extra=[pa.field("media", pa.binary())])


def test_a_part_appears_when_the_block_ends(file: Location) -> None:
    with PartWriter(file, SCHEMA) as part:
        part.write(batch("a", "b"))
        part.write(batch("c"))
        assert not file.exists()

    assert pq.read_table(file.path).to_pydict() == {"key": ["a", "b", "c"]}
    assert part.rows == 3


def test_a_part_without_rows_has_its_columns(file: Location) -> None:
    with PartWriter(file, SCHEMA):
        pass

    assert pq.read_schema(file.path).equals(SCHEMA)


def test_an_error_of_the_caller_leaves_nothing(file: Location) -> None:
    with pytest.raises(RuntimeError, match="the caller's own"):
        write_and_fail(file)

    assert os.listdir(os.path.dirname(file.path)) == []


def test_an_error_of_the_caller_leaves_the_part_that_was_there(file: Location) -> None:
    file.write(b"before")

    with pytest.raises(RuntimeError):
        write_and_fail(file)

    assert file.read() == b"before"


def test_an_error_of_the_writer_reaches_the_caller_and_leaves_nothing(file: Location) -> None:
    other = pa.RecordBatch.from_pydict({"number": [1]})

    def write_many() -> None:
        with PartWriter(file, SCHEMA) as part:
            for _ in range(100):  # more than may wait for the writer
                part.write(other)

    with pytest.raises(ValueError, match="schema"):
        write_many()

    assert os.listdir(os.path.dirname(file.path)) == []


@dataclass(frozen=True, slots=True)
class FullDisk(Location):
    """A place that refuses at the very end, when the file is published."""

    @contextlib.contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        with Location.writing(self) as file:
            yield file
            raise OSError("disk full")


def test_an_error_at_the_very_end_neither_hangs_nor_passes(file: Location) -> None:
    full = FullDisk(file.fs, file.path, file.uri)

    with pytest.raises(OSError, match="disk full"), PartWriter(full, SCHEMA) as part:
        part.write(batch("a"))

    assert not file.exists()


def test_no_thread_is_left_behind(file: Location) -> None:
    before = threading.active_count()

    with PartWriter(file, SCHEMA) as part:
        part.write(batch("a"))
    with contextlib.suppress(RuntimeError):
        write_and_fail(file)

    assert threading.active_count() == before


@pytest.mark.parametrize(("bound", "value"), [("ROW_GROUP_ROWS", 4), ("ROW_GROUP_BYTES", 25)])
def test_row_groups_are_bounded_by_rows_and_by_bytes(
    file: Location, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(sinks, bound, value)

    with PartWriter(file, SCHEMA) as part:
        for _ in range(5):
            part.write(batch("a", "b"))

    groups = pq.ParquetFile(file.path).metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [4, 4, 2]


def test_parts_are_compressed_with_zstd(file: Location) -> None:
    with PartWriter(file, SCHEMA) as part:
        part.write(batch("a"))

    assert pq.ParquetFile(file.path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_part_on_an_object_store_is_whole_or_absent_too() -> None:
    file = locate(f"memory://{uuid.uuid4().hex}/part.parquet")

    with pytest.raises(RuntimeError):
        write_and_fail(file)
    assert not file.exists()

    with PartWriter(file, SCHEMA) as part:
        part.write(batch("a"))
    with file.open() as opened:
        assert pq.read_table(opened).num_rows == 1
