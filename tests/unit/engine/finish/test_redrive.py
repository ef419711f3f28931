"""Which rows are resubmitted, as which shards, and what counts against the limit: decided from the run's files alone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.collect.download import ending_of
from airflow_gemini_batch.engine.collect.land import land
from airflow_gemini_batch.engine.finish.redrive import prune, redrive
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.unit.engine.shard_files import answer, error, receive, rows_of

OPTIONS = BatchOptions(max_shard_requests=8, max_redrives=1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(locate(str(tmp_path / "run")))


def built(run: Run, *, rows: int) -> Manifest:
    table = pa.table({"id": [f"k{number}" for number in range(rows)]})
    return build_run(run, RunSpec(table, GenerateRequest(prompt="${id}"), "gemini-3.6-flash", key="id"), OPTIONS)


def received(run: Run, shard: Shard, *lines: bytes) -> None:
    receive(run, shard, lines)


def unanswered(run: Run, shard: Shard, state: JobState, *, cancelled: str | None = None) -> None:
    """The job of a shard ended so, without an output; ``cancelled``: we had asked for it, and why."""
    job = Job(f"batches/{shard.number}-{shard.attempt}", state)
    ledger = Ledger(run)
    if cancelled is not None:
        ledger.record_cancellation(shard.id, cancelled)
    ledger.record_end(shard.id, job)
    land(run, shard, ending_of(job, cancelled_by_us=cancelled is not None))


def test_shards_that_are_split_again_and_again_never_share_a_number(run: Run) -> None:
    manifest = built(run, rows=24)
    options = BatchOptions(max_redrives=3)
    generation, numbers = list(manifest.shards), []

    while generation:
        numbers += [shard.id for shard in generation]
        following: list[Shard] = []
        for shard in generation:
            unanswered(run, shard, JobState.EXPIRED)
            following += redrive(run, manifest, shard, options)
        generation = following

    assert len(numbers) == 3 * (1 + 2 + 4 + 8)
    assert len(set(numbers)) == len(numbers)
    assert len({part.shard for part in numbers if part.attempt == 3}) == 24


@pytest.mark.parametrize("allowed", [0, 1])
@pytest.mark.parametrize("why", ["killed", "timeout", "stuck"])
def test_rows_of_a_job_that_we_cancelled_are_resubmitted_and_do_not_count(why: str, allowed: int, run: Run) -> None:
    manifest = built(run, rows=4)
    unanswered(run, manifest.shards[0], JobState.CANCELLED, cancelled=why)

    again = redrive(run, manifest, manifest.shards[0], BatchOptions(max_redrives=allowed))

    assert sum(shard.rows for shard in again) == 4
    assert {shard.redrives for shard in again} == {0}
    assert {shard.attempt for shard in again} == {1}


def test_a_job_that_somebody_else_cancelled_is_not_resubmitted(run: Run) -> None:
    manifest = built(run, rows=4)
    unanswered(run, manifest.shards[0], JobState.CANCELLED)

    assert redrive(run, manifest, manifest.shards[0], BatchOptions(max_redrives=9)) == ()


def test_a_job_that_ended_otherwise_although_we_asked_for_its_end_counts(run: Run) -> None:
    manifest = built(run, rows=4)
    unanswered(run, manifest.shards[0], JobState.EXPIRED, cancelled="killed")

    again = redrive(run, manifest, manifest.shards[0], OPTIONS)

    assert {shard.redrives for shard in again} == {1}


@pytest.mark.parametrize(("allowed", "attempts"), [(0, 1), (1, 2), (2, 3)])
def test_rows_are_resubmitted_as_often_as_allowed(allowed: int, attempts: int, run: Run) -> None:
    manifest = built(run, rows=1)
    shards, made = manifest.shards, 0

    while shards:
        made += 1
        unanswered(run, shards[0], JobState.EXPIRED)
        shards = redrive(run, manifest, shards[0], BatchOptions(max_redrives=allowed))

    assert made == attempts


@pytest.mark.parametrize(("state", "pieces"), [(JobState.EXPIRED, [3, 2]), (JobState.FAILED, [])])
def test_an_expired_job_is_split_in_two(state: JobState, pieces: list[int], run: Run) -> None:
    manifest = built(run, rows=5)
    unanswered(run, manifest.shards[0], state)

    assert [shard.rows for shard in redrive(run, manifest, manifest.shards[0], OPTIONS)] == pieces


def test_what_was_decided_first_counts(run: Run) -> None:
    manifest = built(run, rows=4)
    unanswered(run, manifest.shards[0], JobState.EXPIRED)
    first = redrive(run, manifest, manifest.shards[0], OPTIONS)
    requests = [run.requests_file(piece.id).read() for piece in first]

    assert first
    assert redrive(run, manifest, manifest.shards[0], BatchOptions(redrive_max_output_tokens=9)) == first
    assert [run.requests_file(piece.id).read() for piece in first] == requests
    assert redrive(run, manifest, manifest.shards[0], BatchOptions(max_redrives=0)) == first
    assert Ledger(run).redrive(manifest.shards[0].id) is not None


def test_that_nothing_is_resubmitted_is_written_down_too(run: Run) -> None:
    manifest = built(run, rows=4)
    unanswered(run, manifest.shards[0], JobState.EXPIRED)
    redrive(run, manifest, manifest.shards[0], BatchOptions(max_redrives=0))

    assert redrive(run, manifest, manifest.shards[0], BatchOptions(max_redrives=5, timeout=timedelta(hours=1))) == ()


def test_a_refused_row_beside_our_own_cancellation_counts(run: Run) -> None:
    manifest = built(run, rows=4)
    received(run, manifest.shards[0], error("k1", 13))
    unanswered(run, manifest.shards[0], JobState.CANCELLED, cancelled="killed")

    again = redrive(run, manifest, manifest.shards[0], OPTIONS)

    assert [(shard.rows, shard.redrives) for shard in again] == [(4, 1)]


def test_beyond_the_limit_only_the_rows_that_we_cancelled_are_resubmitted(run: Run) -> None:
    manifest = built(run, rows=4)
    received(run, manifest.shards[0], error("k1", 13))
    unanswered(run, manifest.shards[0], JobState.CANCELLED, cancelled="killed")

    again = redrive(run, manifest, msgspec.structs.replace(manifest.shards[0], redrives=1), OPTIONS)

    assert [(shard.rows, shard.redrives) for shard in again] == [(3, 1)]


def test_a_torn_record_is_read_again_from_the_request_files(run: Run) -> None:
    manifest = built(run, rows=5)
    unanswered(run, manifest.shards[0], JobState.EXPIRED)
    decided = redrive(run, manifest, manifest.shards[0], OPTIONS)
    record = run.ledger_folder / f"{manifest.shards[0].id}.redrive.json"
    record.write(b'{"shards":[{"num')

    assert redrive(run, manifest, manifest.shards[0], BatchOptions(max_redrives=0)) == decided
    assert Ledger(run).redrive(manifest.shards[0].id) is not None


def test_a_truncated_row_is_resubmitted_only_with_another_limit_which_its_request_gets(run: Run) -> None:
    manifest = built(run, rows=1)
    received(run, manifest.shards[0], answer("k0").replace(b"STOP", b"MAX_TOKENS"))
    unanswered(run, manifest.shards[0], JobState.SUCCEEDED)

    [piece] = redrive(run, manifest, manifest.shards[0], BatchOptions(redrive_max_output_tokens=99))

    assert json.loads(run.requests_file(piece.id).read())["request"]["generation_config"] == {"max_output_tokens": 99}


def test_pruning_removes_exactly_what_was_resubmitted(run: Run) -> None:
    manifest = built(run, rows=5)
    received(run, manifest.shards[0], error("k1", 3))
    unanswered(run, manifest.shards[0], JobState.EXPIRED)
    pieces = redrive(run, manifest, manifest.shards[0], OPTIONS)
    for piece in pieces:
        unanswered(run, piece, JobState.SUCCEEDED)
        redrive(run, manifest, piece, OPTIONS)

    for _ in range(2):
        prune(run, Snapshot(run, manifest))

        assert [row["key"] for row in rows_of(run.dead_letter_part(manifest.shards[0].id))] == ["k1"]
        assert [row["key"] for row in rows_of(run.dead_letter_part(pieces[0].id))] == ["k0", "k2"]


def cut(key: str, finish_reason: str) -> bytes:
    candidate = {"content": {"parts": [{"text": "t"}]}, "finishReason": finish_reason}
    return json.dumps({"key": key, "response": {"candidates": [candidate]}}).encode()


@pytest.mark.parametrize(
    ("reasons", "resubmitted"),
    [
        ((), ["k3"]),
        (("MALFORMED_FUNCTION_CALL",), ["k0", "k3"]),
        (("INVALID_OUTPUT",), ["k0", "k1", "k3"]),
        (("SAFETY", "TOO_MANY_TOOL_CALLS"), ["k1", "k2", "k3"]),
        (("REQUEST_ERROR",), ["k3", "k4"]),
        (("MISSING", "BLOCKED"), ["k2", "k3"]),
    ],
)
def test_rows_of_the_reasons_that_are_named_are_resubmitted_too(
    reasons: tuple[str, ...], resubmitted: list[str], run: Run
) -> None:
    manifest = built(run, rows=5)
    [shard] = manifest.shards
    lines = [
        cut("k0", "MALFORMED_FUNCTION_CALL"),
        cut("k1", "TOO_MANY_TOOL_CALLS"),
        cut("k2", "SAFETY"),
        error("k3", 13),
        error("k4", 3),
    ]
    received(run, shard, *lines)
    land(run, shard, ending_of(Job("batches/x", JobState.SUCCEEDED)))

    [again] = redrive(run, manifest, shard, BatchOptions(redrive_reasons=reasons))

    requests = [json.loads(line)["key"] for line in run.requests_file(again.id).read().splitlines()]
    assert requests == resubmitted


def test_reasons_that_are_named_stay_within_the_limit(run: Run) -> None:
    manifest = built(run, rows=1)
    [shard] = manifest.shards
    received(run, shard, cut("k0", "SAFETY"))
    land(run, shard, ending_of(Job("batches/x", JobState.SUCCEEDED)))

    assert redrive(run, manifest, shard, BatchOptions(redrive_reasons={"SAFETY"}, max_redrives=0)) == ()
