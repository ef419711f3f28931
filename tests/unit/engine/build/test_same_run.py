"""Whether a source still has the rows that a run was built from, and what happens when two builds meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger
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


def change_rows(file: Path) -> None:
    pq.write_table(rows("x", "y", "Z"), file)


def change_keys(file: Path) -> None:
    pq.write_table(pa.table({"id": ["0", "0", "0"], "body": ["x", "y", "z"]}), file)


def lose_a_column(file: Path) -> None:
    pq.write_table(pa.table({"id": ["0", "1", "2"]}), file)


def tear(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def make_a_folder_of_it(file: Path) -> None:
    file.unlink()
    file.mkdir()


CHANGES = [change_rows, change_keys, lose_a_column, tear, make_a_folder_of_it, Path.unlink]


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_is_not_finished_is_continued_as_it_was_built_whatever_became_of_its_source(
    change: Callable[[Path], None], run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(rows("x", "y", "z"), file)
    first = build_run(run, asking(str(file)), OPTIONS)

    change(file)

    assert build_run(run, asking(str(file)), OPTIONS) == first
    assert "continued as it was built" in caplog.text


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_a_file_that_came_into_the_folder_is_not_part_of_a_run_that_was_built(format: str, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()

    def write(name: str) -> None:
        text = {"csv": "id,body\n{0},x\n", "jsonl": '{{"id": "{0}", "body": "x"}}\n'}.get(format, "").format(name)
        file = folder / f"{name}.{format}"
        file.write_text(text) if text else pq.write_table(pa.table({"id": [name], "body": ["x"]}), file)

    write("a")
    first = build_run(run, asking(str(folder)), OPTIONS)
    write("b")

    assert build_run(run, asking(str(folder)), OPTIONS) == first


def test_another_question_is_seen_without_the_source(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(rows("x"), file)
    first = build_run(run, asking(str(file)), OPTIONS)
    assert Ledger(run).claim(ShardAttempt(0), "token", 1)
    file.unlink()

    with pytest.raises(DestinationError, match=rf"{first.run_id}.*prompt"):
        build_run(run, replace(asking(str(file)), request=GenerateRequest(prompt="Other: ${body}")), OPTIONS)


def test_a_source_that_is_gone_is_an_error_where_nothing_was_built(run: Run, tmp_path: Path) -> None:
    for if_exists in ("resume", "replace"):
        with pytest.raises(InputError, match=r"rows\.parquet"):
            build_run(run, asking(str(tmp_path / "rows.parquet")), OPTIONS, if_exists=if_exists)


@pytest.fixture
def finished(run: Run, tmp_path: Path) -> Path:
    """The source of a finished run."""
    file = tmp_path / "rows.parquet"
    pq.write_table(rows("x", "y", "z"), file)
    build_run(run, asking(str(file)), OPTIONS, owner="me")
    run.summary_file.write(b"{}")
    return file


def test_other_rows_are_refused_where_the_run_is_finished(run: Run, finished: Path) -> None:
    change_rows(finished)

    with pytest.raises(DestinationError, match=r"built from .*rows\.parquet.*rows\.parquet.* has other rows now"):
        build_run(run, asking(str(finished)), OPTIONS)


def test_other_rows_replace_a_finished_run_if_asked_to(run: Run, finished: Path) -> None:
    first = run.built()
    change_rows(finished)

    assert build_run(run, asking(str(finished)), OPTIONS, if_exists="replace", owner="me").run_id != first.run_id


def test_a_finished_run_needs_its_source_no_more(run: Run, finished: Path) -> None:
    first = run.built()
    finished.unlink()

    assert build_run(run, asking(str(finished)), OPTIONS) == first


def test_a_stream_is_recognised_by_its_rows(run: Run) -> None:
    first = build_run(run, asking(stream(rows("x", "y", "z"))), OPTIONS, owner="me")
    run.summary_file.write(b"{}")

    assert build_run(run, asking(stream(rows("x", "y", "z"))), OPTIONS) == first
    for if_exists in ("resume", "replace"):
        with pytest.raises(DestinationError, match=first.run_id):
            build_run(run, asking(stream(rows("x", "y", "Z"))), OPTIONS, if_exists=if_exists, owner="me")


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
