"""The ledger: facts written once, exclusive claims, and torn files that are named rather than forgotten."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, SourceInfo
from airflow_gemini_batch.engine.run.ledger import Intent, Ledger
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tokens import display_name, input_file_name, is_for, token_of, token_of_display_name
from airflow_gemini_batch.engine.submit.job_search import choose, patience

SHARD = Shard(number=3, rows=10, requests=10, bytes=100, sha256="ab" * 32)
PART = ShardAttempt(3)
TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Run(locate(str(tmp_path))))


def manifest(run_id: str = "r1") -> Manifest:
    return Manifest(
        run_id=run_id,
        model="m",
        source=SourceInfo("t", None),
        request={},
        key=None,
        carry=(),
        shards=(SHARD,),
        created_at="2026-01-01T00:00:00+00:00",
    )


def test_of_many_claims_at_once_one_wins(ledger: Ledger) -> None:
    won: list[Intent] = []
    ready = threading.Barrier(8)

    def claim() -> None:
        ready.wait()
        if (intent := ledger.claim(PART, TOKEN, 1)) is not None:
            won.append(intent)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [intent.claimant for intent in won] == [ledger.intent(PART).claimant]  # type: ignore[union-attr]


def test_the_latest_claim_counts_and_a_withdrawn_one_is_forgotten(ledger: Ledger) -> None:
    first, second = ledger.claim(PART, TOKEN, 1), ledger.claim(PART, TOKEN, 2)
    assert first is not None
    assert second is not None

    assert ledger.intent(PART) == second
    ledger.withdraw(PART, second)
    assert ledger.intent(PART) == first


def test_claims_of_different_shards_and_attempts_do_not_meet(ledger: Ledger) -> None:
    ledger.claim(ShardAttempt(3, 0), TOKEN, 1)

    assert ledger.intent(ShardAttempt(3, 1)) is None
    assert ledger.intent(ShardAttempt(30)) is None


def test_the_first_recorded_job_counts(ledger: Ledger) -> None:
    ledger.record(PART, TOKEN, Job("batches/first", JobState.PENDING), adopted=False)

    record = ledger.record(PART, TOKEN, Job("batches/second", JobState.PENDING), adopted=False)

    assert record.job == "batches/first"
    assert ledger.submitted(PART) == record


def test_how_a_job_ended_is_kept_with_its_error(ledger: Ledger) -> None:
    job = Job("batches/x", JobState.FAILED, wire_state="BATCH_STATE_FAILED", done=True, error_code=13, error_message="why")

    ledger.record_end(PART, job)

    assert ledger.ended(PART) == job


def test_an_output_that_is_named_later_is_added_to_the_end_and_its_time_stays(ledger: Ledger) -> None:
    job = Job("batches/x", JobState.SUCCEEDED, input_file="files/in")
    ledger.record_end(PART, job)
    ended_at = ledger.ended_at(PART)

    ledger.record_end(PART, msgspec.structs.replace(job, output_file="files/batch-x"))
    ledger.record_end(PART, job)

    assert ledger.ended(PART) == msgspec.structs.replace(job, output_file="files/batch-x")
    assert ledger.ended_at(PART) == ended_at


@pytest.mark.parametrize("content", [b"", b"{", b'{"token": "x"', b"[]", b"\x00\x00"])
def test_a_torn_file_is_named_and_never_taken_for_absent(ledger: Ledger, content: bytes) -> None:
    (ledger.run.ledger_folder / f"{PART}.job.json").write(content)
    (ledger.run.ledger_folder / f"{PART}.intent-1.json").write(content)

    with pytest.raises(CorruptRunError, match=r"00003-0\.job\.json"):
        ledger.submitted(PART)
    with pytest.raises(CorruptRunError, match=r"00003-0\.intent-1\.json"):
        ledger.intent(PART)


def test_a_record_that_names_no_job_is_not_followed(ledger: Ledger) -> None:
    ledger.record(PART, TOKEN, Job("batches/../../files/x", JobState.PENDING), adopted=False)

    with pytest.raises(CorruptRunError, match="expected batches/<id>"):
        ledger.submitted(PART)


def test_the_input_file_is_remembered_where_the_service_does_not_tell_it(ledger: Ledger) -> None:
    record = ledger.record(PART, TOKEN, Job("batches/a", JobState.PENDING), adopted=False, input_file="files/in")

    assert record.input_file == "files/in"


def test_a_token_is_the_same_for_every_try_and_different_for_every_run_shard_and_attempt() -> None:
    again = token_of(manifest(), SHARD)
    others = {
        token_of(manifest("r2"), SHARD),
        token_of(manifest(), Shard(4, 10, 10, 100, "ab" * 32)),
        token_of(manifest(), Shard(3, 10, 10, 100, "ab" * 32, attempt=1)),
        token_of(manifest(), Shard(3, 10, 10, 100, "cd" * 32)),
    }

    assert token_of(manifest(), SHARD) == again
    assert len(others | {again}) == 5


def test_names_carry_the_token_within_the_limits_of_the_service() -> None:
    token = token_of(manifest(), SHARD)

    assert token_of_display_name(display_name(token, SHARD)) == token
    assert len(display_name(token, SHARD)) <= 512
    assert len(input_file_name(token).removeprefix("files/")) <= 40


def test_display_names_say_which_task_and_run_they_belong_to() -> None:
    token = token_of(manifest(), SHARD)

    name = display_name(token, SHARD, owner="sales/manual__2026/describe/-1", destination="s3://user:word@bucket/runs/1")

    assert name.endswith(" attempt 0 of sales/manual__2026/describe/-1 in s3://bucket/runs/1")
    assert token_of_display_name(name) == token


@pytest.mark.parametrize("letter", ["x", "\u00e4", "\U0001f600"])
def test_long_display_names_keep_the_token_and_the_ends_of_owner_and_destination(letter: str) -> None:
    token = token_of(manifest(), SHARD)

    name = display_name(token, SHARD, owner=letter * 600 + "/task", destination=f"s3://{letter * 600}/run")

    assert token_of_display_name(name) == token
    assert len(name.encode()) <= 512
    assert "/task in ..." in name
    assert name.endswith("/run")


@pytest.mark.parametrize(
    ("shown", "input_file", "ours"),
    [
        (f"gb-{TOKEN} shard 0 attempt 0", None, True),
        (f"  gb-{TOKEN} shard 0 ", None, True),
        (f"gb-{TOKEN}", None, True),
        ("", f"files/gb-{TOKEN}", True),
        ("nightly", f"files/gb-{TOKEN}", True),
        ("", None, False),
        ("nightly", "files/other", False),
    ],
)
def test_a_job_is_known_by_its_display_name_or_by_its_input_file(shown: str, input_file: str | None, ours: bool) -> None:
    assert is_for(Job("batches/a", JobState.PENDING, display_name=shown, input_file=input_file), TOKEN) is ours


@pytest.mark.parametrize("name", ["", "nightly", "gb-", "gb-0123", f"x gb-{TOKEN}", f"gb-{TOKEN}0", f"gb-{TOKEN.upper()}"])
def test_a_display_name_that_somebody_else_chose_gives_no_token(name: str) -> None:
    assert token_of_display_name(name) is None


def job(name: str, state: JobState, created: str) -> Job:
    return Job(f"batches/{name}", state, create_time=created)


def test_of_twins_the_oldest_living_one_is_kept_and_the_others_that_run_are_cancelled() -> None:
    dead = job("dead", JobState.FAILED, "2026-01-01")
    old, young = job("old", JobState.RUNNING, "2026-01-02"), job("young", JobState.PENDING, "2026-01-03")

    assert choose([young, dead, old]) == (old, [young])


def test_where_all_twins_are_dead_the_oldest_is_kept() -> None:
    first, second = job("a", JobState.EXPIRED, "2026-01-01"), job("b", JobState.FAILED, "2026-01-02")

    assert choose([second, first]) == (first, [])


@pytest.mark.parametrize(
    ("claimed_ago", "seconds"),
    [
        (None, 30.0),  # our own create is over: only the listing must settle
        (1.0, 120.0),  # the claimant may still be at it
        (-300.0, 120.0),  # its clock is ahead of ours
        (500.0, 120.0),  # ours may be ahead of its
        (3600.0, 0.0),  # older than any skew
    ],
)
def test_how_long_to_look_before_believing_that_there_is_no_job(claimed_ago: float | None, seconds: float) -> None:
    intent = None if claimed_ago is None else Intent(TOKEN, 1, 10_000.0 - claimed_ago, "host:1:x")

    assert patience(intent, now=10_000.0, options=BatchOptions(claim_lease=90.0, listing_lag=30.0)) == seconds
