"""The lines that keep "exactly one job" and "what is paid is collected", each with the one situation that needs it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.collect.download import collect
from airflow_gemini_batch.engine.errors import OutcomeUnknownError, QuotaError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import JobState
from airflow_gemini_batch.engine.run.cancellation import cancel_job
from airflow_gemini_batch.engine.run.layout import Manifest, Run
from airflow_gemini_batch.engine.run.ledger import Intent, Ledger
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.submit.submission import Submission
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, creates, table

CREATE = ":batchGenerateContent"


class Clock:
    """A clock that sleeping moves at once."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.ahead += max(seconds, 0.01)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(locate(str(tmp_path / "run")))


@pytest.fixture
def manifest(run: Run) -> Manifest:
    return build_run(run, RunSpec(table(4), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)


@pytest.fixture
def submission(run: Run, manifest: Manifest, client: GeminiClient, clock: Clock) -> Submission:
    return Submission(run, manifest, client, SHORT_WAITS, sleep=clock.sleep, clock=clock.time)


@pytest.fixture
def hanging(emulator: Emulator) -> None:
    """Jobs run until they are cancelled."""
    emulator.faults.add(JobFault(do="hang"))


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.FAILED, JobState.EXPIRED])
def test_the_output_of_a_job_that_did_not_end_well_is_collected(
    state: JobState, submission: Submission, client: GeminiClient
) -> None:
    [shard] = submission.manifest.shards
    name = submission.submit(shard).job
    while not (job := client.get_job(name)).has_output:
        continue

    landed = collect(submission.run, client, shard, msgspec.structs.replace(job, state=state, wire_state=""), SHORT_WAITS)

    assert (landed.results, landed.dead_letter) == (4, 0)


def test_a_claim_stays_while_it_is_unknown_whether_a_job_was_created(submission: Submission, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="drop", path=CREATE))
    [shard] = submission.manifest.shards
    in_real_time = replace(submission, options=replace(SHORT_WAITS, listing_lag=0.01), sleep=time.sleep, clock=time.time)

    with pytest.raises(OutcomeUnknownError):
        in_real_time.submit(shard)

    intent = submission.ledger.intent(shard.id)
    assert intent is not None
    assert intent.generation > 1


def test_a_claim_is_withdrawn_when_nothing_was_created(submission: Submission, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="status", status=429, path=CREATE))
    [shard] = submission.manifest.shards

    with pytest.raises(QuotaError):
        submission.submit(shard)

    assert submission.ledger.intent(shard.id) is None


def test_a_process_that_was_paused_with_a_claim_creates_nothing(
    submission: Submission, clock: Clock, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Ledger.claim

    def claim_and_pause(self: Ledger, *arguments: Any) -> Intent | None:
        claimed = claim(self, *arguments)
        clock.ahead += SHORT_WAITS.claim_lease
        return claimed

    monkeypatch.setattr(Ledger, "claim", claim_and_pause)
    [shard] = submission.manifest.shards

    with pytest.raises(OutcomeUnknownError):
        submission.submit(shard)

    assert creates(emulator) == []


def test_the_ledger_says_that_we_cancel_before_the_service_is_asked(
    submission: Submission, client: GeminiClient, emulator: Emulator, hanging: None
) -> None:
    [shard] = submission.manifest.shards
    name = submission.submit(shard).job
    emulator.faults.add(HttpFault(do="status", status=403, path=":cancel"))

    with pytest.raises(ServiceError):
        cancel_job(submission.run, client, shard.id, name, why="killed")

    known = submission.ledger.cancellation(shard.id)
    assert known is not None
    assert known.why == "killed"


@pytest.mark.parametrize(("why", "asked"), [("stuck", 1), ("killed", 0)])
def test_the_end_of_a_stuck_job_is_asked_for_until_it_has_ended(
    why: str, asked: int, submission: Submission, client: GeminiClient, emulator: Emulator, hanging: None
) -> None:
    [shard] = submission.manifest.shards
    name = submission.submit(shard).job
    Ledger(submission.run).record_cancellation(shard.id, why)  # the request itself was lost

    waiting = advance(submission.run, client, replace(SHORT_WAITS, resubmit_stuck_after=timedelta(days=1)))

    assert isinstance(waiting, Waiting)
    assert waiting.retry_in is not None, "the shard is checked again although its job does not end"
    assert sum(call["route"].endswith(":cancel") for call in emulator.calls()) == asked
    assert (client.get_job(name).state is JobState.CANCELLED) is (asked == 1)
