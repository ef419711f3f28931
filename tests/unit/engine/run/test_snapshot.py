"""One listing of the ledger, what it opens, and what it remembers for the next pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, SourceInfo
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location, locate

SHARDS = tuple(Shard(number, 10, 10, 100, "ab" * 32) for number in range(3))
AGAIN = (Shard(1, 4, 4, 40, "cd" * 32, attempt=1, redrives=1), Shard(4, 3, 3, 30, "ef" * 32, attempt=1, redrives=1))


def manifest(run_id: str = "r1") -> Manifest:
    return Manifest(run_id, "m", SourceInfo("t", None), {}, None, (), SHARDS, "2026-01-01T00:00:00+00:00")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(locate(str(tmp_path)))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that are opened for reading."""
    names: list[str] = []
    read = Location.read

    def counted(location: Location) -> bytes:
        names.append(location.name)
        return read(location)

    monkeypatch.setattr(Location, "read", counted)
    return names


def submit(run: Run, shard: Shard) -> None:
    Ledger(run).record(shard.id, "t", Job(f"batches/{shard.id}", JobState.PENDING), adopted=False)


def test_an_empty_ledger_has_the_shards_of_the_manifest_and_no_facts(run: Run, opened: list[str]) -> None:
    snapshot = Snapshot(run, manifest())

    assert snapshot.shards() == list(SHARDS)
    assert not snapshot.has(SHARDS[0].id, "job")
    assert (snapshot.in_flight(), snapshot.without_end(), snapshot.claimed(since=0.0)) == ({}, [], [])
    assert opened == []


def test_resubmitted_shards_follow_those_of_the_manifest(run: Run) -> None:
    Ledger(run).record_redrive(SHARDS[1].id, AGAIN)
    Ledger(run).record_redrive(SHARDS[0].id, ())

    assert Snapshot(run, manifest()).shards() == [*SHARDS, *AGAIN]


def test_what_is_in_flight_has_a_job_and_has_not_landed(run: Run) -> None:
    for shard in SHARDS[:2]:
        submit(run, shard)
    run.landed_file(SHARDS[0].id).write(b"{}")
    Ledger(run).record_end(SHARDS[1].id, Job("batches/x", JobState.SUCCEEDED))

    snapshot = Snapshot(run, manifest())

    assert snapshot.in_flight() == {SHARDS[1]: "batches/00001-0"}
    assert snapshot.without_end() == [SHARDS[0]]


def test_a_claim_counts_from_its_time_until_there_is_a_job(run: Run) -> None:
    for shard in SHARDS[:2]:
        Ledger(run).claim(shard.id, "t", 1)
    submit(run, SHARDS[0])

    assert Snapshot(run, manifest()).claimed(since=0.0) == [SHARDS[1]]
    assert Snapshot(run, manifest()).claimed(since=9e9) == []


def test_the_next_pass_opens_only_what_has_changed(run: Run, opened: list[str]) -> None:
    for shard in SHARDS:
        submit(run, shard)
    Ledger(run).record_redrive(SHARDS[0].id, ())
    Ledger(run).record_redrive(SHARDS[1].id, AGAIN)
    opened.clear()
    first = Snapshot(run, manifest())
    expected = (first.shards(), first.in_flight())
    first.save()
    assert len(opened) == 5
    opened.clear()
    submit(run, AGAIN[0])
    opened.clear()

    second = Snapshot(run, manifest())

    assert second.shards() == expected[0]
    assert second.in_flight() == {**expected[1], AGAIN[0]: "batches/00001-1"}
    assert sorted(opened) == ["00001-1.job.json", "known.json"]


def test_what_was_decided_in_a_pass_is_known_to_the_next(run: Run, opened: list[str]) -> None:
    first = Snapshot(run, manifest())
    Ledger(run).record_redrive(SHARDS[1].id, AGAIN)
    first.remember_redrive(SHARDS[1].id, AGAIN)
    first.save()
    opened.clear()

    assert Snapshot(run, manifest()).redrive(SHARDS[1].id) == AGAIN
    assert opened == ["known.json"]


def test_a_fact_whose_file_is_gone_is_not_believed(run: Run) -> None:
    submit(run, SHARDS[0])
    Ledger(run).record_redrive(SHARDS[1].id, AGAIN)
    snapshot = Snapshot(run, manifest())
    snapshot.shards(), snapshot.in_flight()
    snapshot.save()
    for fact in ("00000-0.job", "00001-0.redrive"):
        (run.ledger_folder / f"{fact}.json").delete()

    later = Snapshot(run, manifest())

    assert (later.shards(), later.in_flight()) == (list(SHARDS), {})


@pytest.mark.parametrize("content", [b"", b"{", b'{"run_id": 3}', b"[]"])
def test_a_torn_hint_is_no_loss(run: Run, content: bytes) -> None:
    submit(run, SHARDS[0])
    (run.ledger_folder / "known.json").write(content)

    snapshot = Snapshot(run, manifest())

    assert snapshot.in_flight() == {SHARDS[0]: "batches/00000-0"}
    snapshot.save()
    assert (run.ledger_folder / "known.json").read().startswith(b'{"closed"')


def test_the_hint_of_a_replaced_run_is_not_believed(run: Run) -> None:
    submit(run, SHARDS[0])
    snapshot = Snapshot(run, manifest("old"))
    snapshot.in_flight()
    snapshot.save()
    (run.ledger_folder / "00000-0.job.json").delete()
    Ledger(run).record(SHARDS[0].id, "t", Job("batches/new", JobState.PENDING), adopted=False)

    assert Snapshot(run, manifest("new")).in_flight() == {SHARDS[0]: "batches/new"}


def test_the_hint_forgets_the_jobs_of_landed_shards_and_is_written_only_when_it_changes(run: Run) -> None:
    submit(run, SHARDS[0])
    first = Snapshot(run, manifest())
    first.in_flight()
    first.save()
    run.landed_file(SHARDS[0].id).write(b"{}")
    second = Snapshot(run, manifest())
    second.save()
    assert b"batches/" not in (run.ledger_folder / "known.json").read()
    (run.ledger_folder / "known.json").delete()

    Snapshot(run, manifest()).save()

    assert not (run.ledger_folder / "known.json").exists()


def test_a_torn_fact_is_named_and_never_remembered(run: Run) -> None:
    (run.ledger_folder / "00000-0.redrive.json").write(b"{")
    (run.ledger_folder / "00001-0.job.json").write(b"{")
    snapshot = Snapshot(run, manifest())

    with pytest.raises(CorruptRunError, match=r"00000-0\.redrive\.json"):
        snapshot.redrive(ShardAttempt(0))
    with pytest.raises(CorruptRunError, match=r"00001-0\.job\.json"):
        snapshot.job(ShardAttempt(1))


def test_one_shard_is_found_without_the_others_files(run: Run, opened: list[str]) -> None:
    ledger = Ledger(run)
    ledger.record_redrive(SHARDS[0].id, ())
    ledger.record_redrive(SHARDS[1].id, AGAIN)
    opened.clear()

    assert ledger.shard(manifest(), ShardAttempt(2)) == SHARDS[2]
    assert opened == []
    assert ledger.shard(manifest(), ShardAttempt(4, 1)) == AGAIN[1]
    assert opened == ["00001-0.redrive.json"]
    assert ledger.shard(manifest(), ShardAttempt(3)) is None
    assert ledger.shard(manifest(), ShardAttempt(1, 2)) is None
