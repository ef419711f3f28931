"""A summary is written only for tables that balance, and counts what is in them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.collect.download import ending_of, reland
from airflow_gemini_batch.engine.collect.land import land
from airflow_gemini_batch.engine.errors import BalanceError, DeadLetterRatioError
from airflow_gemini_batch.engine.finish.redrive import redrive
from airflow_gemini_batch.engine.finish.summary import finish_run, summary_of
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run, Shard, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import Location
from tests.unit.engine.shard_files import answer, error, receive, rows_of, run_at, write_shard


def end(run: Run, shard: Shard, *lines: bytes) -> None:
    job = Job(
        name=f"batches/{shard.id}", state=JobState.SUCCEEDED, create_time="2026-11-01T00:00:00Z", end_time="2026-11-01T01:00:00Z"
    )
    receive(run, shard, lines)
    Ledger(run).record_end(shard.id, job)
    land(run, shard, ending_of(job))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two shards: the first has landed with one answer and one retryable dead letter, the second has not."""
    run = run_at(tmp_path)
    shards = tuple(write_shard(run, [f"{number}a", f"{number}b"], part=ShardAttempt(number)) for number in range(2))
    run.manifest_file.write(msgspec.json.encode(msgspec.structs.replace(run.built(), shards=shards)))
    end(run, shards[0], answer("0a", promptTokenCount=2), error("0b", 13), answer("zz"))
    return run


@pytest.fixture
def whole(run: Run) -> Run:
    end(run, run.built().shards[1], answer("1a", promptTokenCount=3), answer("1b"))
    return run


def test_the_summary_counts_rows_tokens_and_jobs(whole: Run) -> None:
    summary = finish_run(whole)

    assert (summary.rows, summary.results, summary.dead_letter, summary.balanced) == (4, 3, 1, True)
    assert summary.reasons == {"REQUEST_ERROR": 1}
    assert (summary.tokens["prompt_tokens"], summary.aside["foreign"]) == (5, 1)
    assert [(job.name, job.shard, job.requests) for job in summary.jobs] == [("batches/00000-0", 0, 2), ("batches/00001-0", 1, 2)]
    assert summary_of(whole) == summary


def test_a_shard_that_has_not_been_collected_is_named_and_nothing_is_written(run: Run) -> None:
    with pytest.raises(BalanceError, match=r"1 of 2 shards have not been collected \(00001-0\)"):
        finish_run(run)

    assert summary_of(run) is None


def test_resubmitted_rows_are_pruned_before_the_balance_is_checked(whole: Run) -> None:
    manifest = whole.built()
    [piece] = redrive(whole, manifest, manifest.shards[0], BatchOptions())
    end(whole, piece, answer("0b"))

    summary = finish_run(whole)

    assert (summary.results, summary.dead_letter) == (4, 0)
    assert [job.attempt for job in summary.jobs] == [0, 0, 1]


def test_finishing_again_prunes_what_another_try_has_restored(whole: Run) -> None:
    manifest = whole.built()
    [piece] = redrive(whole, manifest, manifest.shards[0], BatchOptions())
    end(whole, piece, answer("0b"))
    summary = finish_run(whole)
    reland(whole, manifest.shards[0])

    assert finish_run(whole) == summary
    assert rows_of(whole.dead_letter_part(manifest.shards[0].id)) == []


def test_a_finished_run_needs_neither_manifest_nor_a_readable_ledger(whole: Run) -> None:
    summary = finish_run(whole)
    (whole.ledger_folder / "00000-0.redrive.json").write(b"{")
    assert finish_run(whole) == summary

    whole.manifest_file.delete()

    assert finish_run(whole) == summary


def test_a_torn_part_is_rewritten(whole: Run) -> None:
    whole.results_part(ShardAttempt(1)).write(b"PAR1 torn")

    assert finish_run(whole).results == 3


def test_a_torn_summary_is_rewritten(whole: Run) -> None:
    summary = finish_run(whole)
    whole.summary_file.write(b'{"run_id"')

    assert finish_run(whole).results == summary.results


def test_tables_that_do_not_balance_after_rewriting_get_no_summary(whole: Run) -> None:
    (whole.destination / "results" / "copy.parquet").write(b"")

    with pytest.raises(BalanceError, match=r"does not balance: 1 files .* No summary was written"):
        finish_run(whole)

    assert summary_of(whole) is None


def test_the_ratio_is_checked_after_everything_has_been_written(whole: Run) -> None:
    assert finish_run(whole, max_dead_letter_ratio=0.25).dead_letter == 1

    with pytest.raises(DeadLetterRatioError, match=r"1 of 4 rows \(25.0%\) are dead letters, 24.0% allowed: REQUEST_ERROR 1"):
        finish_run(whole, max_dead_letter_ratio=0.24)

    assert summary_of(whole) is not None


def delete(part: Location) -> None:
    part.delete()


def cut(part: Location) -> None:
    part.write(part.read()[:-8])


def empty(part: Location) -> None:
    part.write(b"")


def keep_one_row(part: Location) -> None:
    with part.open() as file:
        table = pq.read_table(file)
    content = io.BytesIO()
    pq.write_table(table.slice(0, table.num_rows - 1), content)
    part.write(content.getvalue())


def double_rows(part: Location) -> None:
    with part.open() as file:
        table = pq.read_table(file)
    content = io.BytesIO()
    pq.write_table(pa.concat_tables([table, table]), content)
    part.write(content.getvalue())


@pytest.mark.parametrize("damage", [delete, cut, empty, keep_one_row, double_rows])
@pytest.mark.parametrize("table", ["results", "dead_letter"])
def test_a_part_that_was_damaged_after_the_finish_is_rewritten(
    table: str, damage: Callable[[Location], None], whole: Run, caplog: pytest.LogCaptureFixture
) -> None:
    summary = finish_run(whole)
    part = whole.results_part(ShardAttempt(0)) if table == "results" else whole.dead_letter_part(ShardAttempt(0))
    before = rows_of(part)
    damage(part)

    again = finish_run(whole)

    assert rows_of(part) == before
    assert (again.results, again.dead_letter, again.tokens) == (summary.results, summary.dead_letter, summary.tokens)
    assert "has changed since" in caplog.text


def test_a_whole_finished_run_is_not_written_again(whole: Run) -> None:
    finish_run(whole)
    before = {file.name: file.read() for file in (whole.destination / "results").children()}
    written = whole.summary_file.read()

    finish_run(whole)

    assert whole.summary_file.read() == written
    assert {file.name: file.read() for file in (whole.destination / "results").children()} == before


def test_a_file_that_was_put_beside_the_parts_is_named(whole: Run) -> None:
    finish_run(whole)
    (whole.destination / "results" / "copy.parquet").write(whole.results_part(ShardAttempt(0)).read())

    with pytest.raises(BalanceError, match=r"copy\.parquet"):
        finish_run(whole)


def test_a_damaged_run_that_cannot_be_rewritten_is_an_error(whole: Run) -> None:
    finish_run(whole)
    (whole.destination / "_run").delete()
    whole.results_part(ShardAttempt(0)).delete()

    with pytest.raises(BalanceError, match=r"part-00000-0\.parquet is absent.*Restore"):
        finish_run(whole)
