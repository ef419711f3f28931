"""Whether a source still has the rows that a run was built from, and what happens when two builds meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.build.building import RunSpec, build_run
from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest

OPTIONS = BatchOptions(max_shard_requests=2)
SCHEMA = pa.schema([("id", pa.string()), ("body", pa.string())])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(locate(str(tmp_path / "run")))


def rows(*bodies: str) -> pa.Table:
    return pa.table({"id": [str(number) for number in range(len(bodies))], "body": list(bodies)}, schema=SCHEMA)


def asking(source: object) -> RunSpec:
    return RunSpec(source, GenerateRequest(prompt="${body}"), "gemini-3.6-flash", key="id")


def stream(table: pa.Table) -> pa.RecordBatchReader:
    """A source that can be read once and has no fingerprint."""
    return pa.RecordBatchReader.from_batches(SCHEMA, table.to_batches())


def test_a_file_that_was_rewritten_with_the_same_rows_is_the_same_run(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(rows("x", "y", "z"), file)
    first = build_run(run, asking(str(file)), OPTIONS)

    pq.write_table(rows("x", "y", "z"), file, compression="none", row_group_size=1)

    assert build_run(run, asking(str(file)), OPTIONS) == first


def test_a_file_that_was_rewritten_with_other_rows_is_another_run(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(rows("x", "y", "z"), file)
    first = build_run(run, asking(str(file)), OPTIONS)

    pq.write_table(rows("x", "y", "Z"), file)

    with pytest.raises(DestinationError, match=first.run_id):
        build_run(run, asking(str(file)), OPTIONS)


def test_a_stream_is_recognised_by_its_rows(run: Run) -> None:
    first = build_run(run, asking(stream(rows("x", "y", "z"))), OPTIONS)

    assert build_run(run, asking(stream(rows("x", "y", "z"))), OPTIONS) == first
    with pytest.raises(DestinationError, match=first.run_id):
        build_run(run, asking(stream(rows("x", "y", "Z"))), OPTIONS)


@pytest.mark.parametrize("folder", ["results", "dead_letter"])
def test_a_table_without_a_manifest_is_not_built_over(folder: str, run: Run) -> None:
    (run.destination / folder / "part-00000-0.parquet").write(b"from elsewhere")

    with pytest.raises(DestinationError, match=folder):
        build_run(run, asking(rows("x")), OPTIONS)


def meeting(run: Run, mine: pa.Table, theirs: pa.Table) -> pa.RecordBatchReader:
    """A stream during which another build reaches the same destination and finishes first."""

    def batches() -> Iterator[pa.RecordBatch]:
        build_run(run, asking(theirs), OPTIONS)
        yield from mine.to_batches()

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def test_of_two_builds_that_meet_the_second_takes_the_run_of_the_first(run: Run) -> None:
    table = rows("x", "y", "z")

    manifest = build_run(run, asking(meeting(run, table, table)), OPTIONS)

    assert manifest == run.manifest()


def test_of_two_builds_of_different_rows_that_meet_the_second_is_refused(run: Run) -> None:
    with pytest.raises(DestinationError, match="other rows"):
        build_run(run, asking(meeting(run, rows("x", "y", "z"), rows("x", "y"))), OPTIONS)
