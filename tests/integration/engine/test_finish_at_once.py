"""The end of a run opens the files of many shards at the same time, and comes to the same summary."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import BalanceError, CorruptRunError
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run, summary_of
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.run.damage import find_damage
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, creates, table
from tests.unit.engine.meeting_place import MeetingPlace

pytestmark = pytest.mark.integration

#: Readers for whom a file waits, and shards of the run: a multiple of it, so that nobody waits for ever.
TOGETHER, SHARDS = 4, 8
ROWS = SHARDS * 5
FAILED = tuple(f"k{number}" for number in range(0, ROWS, 5))


@pytest.fixture
def store() -> Iterator[MeetingPlace]:
    yield MeetingPlace()
    MeetingPlace.store.clear()


@pytest.fixture
def run(store: MeetingPlace, client: GeminiClient, emulator: Emulator) -> Run:
    """A finished run whose summary is absent, in which a row of each shard has failed."""
    run = Run(Location(store, "/bucket/run", "meeting://bucket/run"))
    build_run(run, RunSpec(table(ROWS), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)
    for number, key in enumerate(FAILED):
        emulator.faults.add(RowFault(do="error", code=3, message=f"message {number % 3}", keys=(key,)))
    while isinstance(advance(run, client, SHORT_WAITS, patient=True), Waiting):
        emulator.wait_idle()
    return run


def comparable(summary: Summary) -> Summary:
    return msgspec.structs.replace(summary, finished_at="")


@pytest.mark.parametrize(
    "files", [".landed.json", ".end.json", ".redrive.json", "/results/part-", "/dead_letter/part-", "/_run/inputs/shard-"]
)
def test_files_of_many_shards_are_opened_at_the_same_time(files: str, run: Run, store: MeetingPlace) -> None:
    before = summary_of(run)
    assert before is not None
    run.summary_file.delete()
    Snapshot(run, run.built()).forget()  # as mapped steps leave it
    store.of, store.barrier = files, threading.Barrier(TOGETHER)

    summary = finish_run(run)

    assert store.opened >= SHARDS
    assert comparable(summary) == comparable(before)


def test_a_finished_run_is_looked_at_many_parts_at_a_time(run: Run, store: MeetingPlace) -> None:
    store.of, store.barrier = "/part-", threading.Barrier(TOGETHER)

    assert find_damage(run, results=ROWS - SHARDS, dead_letter=SHARDS) is None
    assert store.opened == 2 * SHARDS


def test_the_shards_that_are_not_whole_are_named_in_their_order(run: Run) -> None:
    shards = run.built().shards
    run.summary_file.delete()
    for number in (6, 1, 3):
        run.landed_file(shards[number].id).delete()

    with pytest.raises(BalanceError, match=r"3 of 8 shards have not been collected \(00001-0, 00003-0, 00006-0\)"):
        finish_run(run)


def test_torn_counts_and_parts_are_written_again(run: Run) -> None:
    before, shards = summary_of(run), run.built().shards
    assert before is not None
    run.summary_file.delete()
    run.landed_file(shards[2].id).write(b"{")
    run.results_part(shards[5].id).write(b"torn")

    assert comparable(finish_run(run)) == comparable(before)


def test_of_several_files_that_cannot_be_read_the_first_is_named(run: Run) -> None:
    shards = run.built().shards
    run.summary_file.delete()
    for number in (6, 1, 3):
        run.inputs_file(shards[number].id).write(b"torn")

    with pytest.raises(CorruptRunError, match="shard-00001-0"):
        finish_run(run)


@pytest.mark.parametrize("fact", [".job.json", ".redrive.json"])
def test_a_pass_without_a_hint_opens_facts_at_the_same_time(
    fact: str, run: Run, store: MeetingPlace, client: GeminiClient, emulator: Emulator
) -> None:
    run.summary_file.delete()
    snapshot = Snapshot(run, run.built())
    snapshot.forget()
    if fact == ".job.json":  # as if nothing had been collected
        for file in run.ledger_folder.children():
            if not file.name.endswith((".job.json", ".intent-1.json")):
                file.delete()
    store.of, store.barrier = fact, threading.Barrier(TOGETHER)

    summary = advance(run, client, SHORT_WAITS)

    assert isinstance(summary, Summary)
    assert store.opened >= SHARDS
    assert len(creates(emulator)) == SHARDS
