"""The facts of a ledger on a store that is far away."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from airflow_gemini_batch.engine.report.facts import FactCache, read_facts
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, SourceInfo
from airflow_gemini_batch.engine.run.ledger import Landed, Ledger
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location
from tests.unit.engine.meeting_place import MeetingPlace

#: Readers for whom a file waits. A multiple of it is in the ledger, and all are begun at once, so nobody waits for ever.
TOGETHER = 8

SHARDS = tuple(Shard(number, 10, 10, 100, "ab" * 32) for number in range(8 * TOGETHER))
MANIFEST = Manifest("r1", "m", SourceInfo("t", None), {}, None, (), SHARDS, "2026-01-01T00:00:00+00:00")


@pytest.fixture
def store() -> Iterator[MeetingPlace]:
    yield MeetingPlace()
    MeetingPlace.store.clear()


@pytest.fixture
def run(store: MeetingPlace) -> Run:
    run = Run(Location(store, "/bucket/run", "meeting://bucket/run"))
    for shard in SHARDS:
        counts = Landed(shard.number, 0, f"batches/{shard.number}", 10, 9, 1, {"BLOCKED": 1}, {}, {})
        run.landed_file(shard.id).write(msgspec.json.encode(counts))
    return run


def test_facts_are_opened_at_the_same_time(run: Run, store: MeetingPlace) -> None:
    times = run.ledger_folder.times()
    store.barrier = threading.Barrier(TOGETHER)

    _, landed = read_facts(run, MANIFEST, times, {})

    assert len(landed) == len(SHARDS)
    assert store.most >= TOGETHER


def test_of_a_hint_only_what_is_listed_is_believed(run: Run) -> None:
    snapshot = Snapshot(run, MANIFEST)
    for shard in SHARDS:
        snapshot.usd(shard.id)
    snapshot.save()
    run.landed_file(SHARDS[0].id).delete()

    _, landed = read_facts(run, MANIFEST, run.ledger_folder.times(), cache := FactCache())

    assert set(landed) == {str(shard.id) for shard in SHARDS[1:]}
    assert cache == {}


def test_a_fact_that_was_written_anew_is_opened_again(run: Run) -> None:
    cache = FactCache()
    times = run.ledger_folder.times()
    read_facts(run, MANIFEST, times, cache)
    counts = Landed(0, 0, None, 10, 10, 0, {}, {}, {})
    run.landed_file(SHARDS[0].id).write(msgspec.json.encode(counts))

    _, landed = read_facts(run, MANIFEST, {**times, "00000-0.landed.json": 9e9}, cache)

    assert landed["00000-0"] == counts


def test_torn_facts_are_left_out(run: Run) -> None:
    Ledger(run).record_redrive(SHARDS[1].id, ())
    for name in ("00000-0.landed.json", "00001-0.redrive.json", "00002-0.landed.json"):
        (run.ledger_folder / name).write(b"{")

    snapshot, landed = read_facts(run, MANIFEST, run.ledger_folder.times(), {})

    assert set(landed) == {str(shard.id) for shard in SHARDS} - {"00000-0", "00002-0"}
    assert not snapshot.knows(SHARDS[1].id, "redrive")
