"""The balance check reads the tables themselves, and names every way in which they may be wrong."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.finish.balance import check_run
from airflow_gemini_batch.engine.run.layout import Run, Shard, ShardAttempt
from airflow_gemini_batch.engine.run.storage import Location
from tests.unit.engine.shard_files import answer, error, receive, run_at, write_shard


def landed_shard(run: Run, number: int, keys: list[str]) -> Shard:
    """The first key has a problem, the second is refused, the others are answered."""
    shard = write_shard(run, keys, problems=keys[:1], part=ShardAttempt(number), block_rows=3)
    receive(run, shard, [*(error(key, 13) for key in keys[1:2]), *map(answer, keys[2:])])
    land(run, shard, Ending(job=f"batches/{number}"))
    return shard


def keep(file: Location, keys: list[str]) -> None:
    """Rewrite a part with these of its rows, in this order."""
    table = pq.read_table(file.path)
    rows = {row["key"]: row for row in table.to_pylist()}
    pq.write_table(pa.Table.from_pylist([rows[key] for key in keys], schema=table.schema), file.path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_at(tmp_path)


@pytest.fixture
def shards(run: Run) -> list[Shard]:
    return [landed_shard(run, number, [f"{number}-{row}" for row in range(8)]) for number in range(3)]


def test_a_whole_run_balances_and_is_counted_in_its_tables(run: Run, shards: list[Shard]) -> None:
    balance = check_run(run, shards)

    assert balance.balanced
    assert (balance.rows, balance.results, balance.dead_letter) == (24, 18, 6)
    assert balance.reasons == {"INVALID_INPUT": 3, "REQUEST_ERROR": 3}


def test_an_empty_run_balances(run: Run) -> None:
    shard = write_shard(run, [])
    land(run, shard, Ending(job=None))

    balance = check_run(run, [shard])

    assert (balance.balanced, balance.rows) == (True, 0)


def test_a_run_on_an_object_store_balances() -> None:
    run = run_at(f"memory://{uuid.uuid4().hex}")
    shard = landed_shard(run, 0, ["a", "b", "c"])

    assert check_run(run, [shard]).balanced


def test_resubmitted_rows_count_where_they_ended(run: Run, shards: list[Shard]) -> None:
    again = write_shard(run, ["1-1"], part=ShardAttempt(1, 1))
    receive(run, again, [answer("1-1")])
    land(run, again, Ending(job="batches/again"))
    assert not check_run(run, [*shards, again]).balanced

    keep(run.dead_letter_part(shards[1].id), ["1-0"])

    balance = check_run(run, [*shards, again])
    assert balance.balanced
    assert (balance.results, balance.dead_letter) == (19, 5)


def test_the_second_piece_of_a_split_shard_belongs_to_the_shard_it_came_from(run: Run, shards: list[Shard]) -> None:
    piece = write_shard(run, ["1-1"], part=ShardAttempt(1 + len(shards), 1))
    receive(run, piece, [answer("1-1")])
    land(run, piece, Ending(job="batches/piece"))
    keep(run.dead_letter_part(shards[1].id), ["1-0"])

    assert check_run(run, [*shards, piece]).balanced


def test_a_lost_row_is_named(run: Run, shards: list[Shard]) -> None:
    keep(run.results_part(shards[1].id), ["1-2", "1-3", "1-5", "1-6", "1-7"])

    balance = check_run(run, shards)

    assert not balance.balanced
    assert "shard 00001: 1 keys missing ('1-4')." in balance.problem
    assert "00001-0.landed.json" in balance.problem


def test_a_repeated_row_is_named_even_where_the_counts_agree(run: Run, shards: list[Shard]) -> None:
    keep(run.results_part(shards[1].id), ["1-2", "1-3", "1-3", "1-5", "1-6", "1-7"])

    balance = check_run(run, shards)

    assert balance.results + balance.dead_letter == balance.rows
    assert "shard 00001: 1 keys missing ('1-4'), 1 keys repeated ('1-3')." in balance.problem


def test_a_row_in_both_tables_is_reported_as_repeated(run: Run, shards: list[Shard]) -> None:
    table = pq.read_table(run.dead_letter_part(shards[0].id).path)
    stolen = table.set_column(0, "key", pa.array(["0-0", "0-2"]))
    pq.write_table(stolen, run.dead_letter_part(shards[0].id).path)

    assert "1 keys missing ('0-1'), 1 keys repeated ('0-2')" in check_run(run, shards).problem


def test_the_part_of_another_shard_is_not_taken_for_this_ones(run: Run, shards: list[Shard]) -> None:
    shutil.copy(run.results_part(shards[2].id).path, run.results_part(shards[0].id).path)

    problem = check_run(run, shards).problem

    assert "shard 00000: 6 keys missing ('0-2', '0-3'" in problem
    assert "6 keys unknown ('2-2', '2-3'" in problem


def test_no_more_than_ten_keys_are_named(run: Run) -> None:
    shard = landed_shard(run, 0, [f"k{number}" for number in range(50)])
    keep(run.results_part(shard.id), [])

    problem = check_run(run, [shard]).problem

    assert "48 keys missing ('k2', " in problem
    assert "'k11', …)" in problem
    assert "'k12'" not in problem


def test_a_shard_that_has_not_been_collected_is_named(run: Run, shards: list[Shard]) -> None:
    run.dead_letter_part(shards[1].id).delete()

    assert "shard 00001-0 has not been collected: dead_letter/part-00001-0.parquet absent." in check_run(run, shards).problem


def test_unexpected_files_that_readers_would_read_are_named(run: Run, shards: list[Shard]) -> None:
    (run.destination / "results" / "copy.parquet").write(b"")
    (run.destination / "results" / "_SUCCESS").write(b"")
    shutil.copy(run.results_part(shards[0].id).path, run.results_part(ShardAttempt(9)).path)

    problem = check_run(run, shards).problem

    assert problem.startswith("2 files in the table folders are not parts of this run")
    assert "results/copy.parquet" in problem
    assert "results/part-00009-0.parquet" in problem


@pytest.mark.parametrize("content", [b"", b"PAR1 torn", b"PAR1" + b"\0" * 100 + b"\x10\0\0\0PAR1"])
def test_a_torn_part_is_named_with_what_to_do(run: Run, shards: list[Shard], content: bytes) -> None:
    run.results_part(shards[1].id).write(content)

    with pytest.raises(CorruptRunError, match=r"results/part-00001-0\.parquet is torn .* Delete it and .*00001-0\.landed\.json"):
        check_run(run, shards)


def test_a_table_of_something_else_is_refused(run: Run, shards: list[Shard]) -> None:
    pq.write_table(pa.table({"key": ["a"]}), run.dead_letter_part(shards[1].id).path)

    with pytest.raises(CorruptRunError, match="found a table without reason"):
        check_run(run, shards)
