"""Limits that runs share: each with its own destination and client, meeting in a folder and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.api import run_batch
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import NoRoomError, QuotaError, RefusedError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini import client as client_module
from airflow_gemini_batch.engine.gemini import waits
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tokens import token_of
from airflow_gemini_batch.engine.slots import slots as slots_module
from airflow_gemini_batch.engine.slots.slots import record_of
from airflow_gemini_batch.engine.slots.state import Demand, Slot, State
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.submit.submission import Submission
from tests.integration.engine.conftest import KEY, MODEL, SHORT_WAITS, creates, table

pytestmark = pytest.mark.integration

CREATE = ":batchGenerateContent"
OPTIONS = replace(SHORT_WAITS, max_shard_requests=1)
#: Longer than the time for which a slot counts that has no job.
LONG = OPTIONS.claim_lease + OPTIONS.listing_lag + 1.0


@dataclass
class Clock:
    """Seconds since the epoch, which pass when a test says so, and when somebody sleeps."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    """Jobs run for an hour of its own clock."""
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=3600, max_enqueued_tokens=10_000) as emulator:
        yield emulator


@pytest.fixture
def limits(tmp_path: Path) -> ProjectLimits:
    return ProjectLimits(str(tmp_path / "limits"), max_active_jobs=2)


@pytest.fixture
def submission_of(tmp_path: Path, endpoint: Endpoint, clock: Clock) -> Iterator[Callable[..., Submission]]:
    """A run of four shards with one row each, and what submits them."""
    clients: list[GeminiClient] = []

    def make(name: str, limits: ProjectLimits, prompt: str = "${body}", owner: str | None = None) -> Submission:
        run = Run(locate(str(tmp_path / name)))
        spec = RunSpec(table(4), GenerateRequest(prompt=prompt), MODEL, key="id")
        manifest = build_run(run, spec, OPTIONS, owner=owner)
        clients.append(GeminiClient(replace(endpoint, limits=limits)))
        return Submission(run, manifest, clients[-1], OPTIONS, sleep=clock.sleep, clock=clock)

    yield make
    for client in clients:
        client.close()


def submit(submission: Submission, number: int) -> Any:
    return submission.submit(submission.manifest.shards[number])


def held(limits: ProjectLimits) -> list[str]:
    return sorted(slot.demand.group for slot in record_of(limits).read().slots.values())


def test_a_limit_holds_over_runs_and_a_free_place_goes_to_the_run_that_has_none(
    submission_of: Callable[..., Submission], limits: ProjectLimits, emulator: Emulator, clock: Clock
) -> None:
    one = submission_of("one", limits, owner="first_dag/run/task/-1")
    two = submission_of("two", limits, owner="second_dag/run/task/-1")
    submit(one, 0), submit(one, 1)
    for other in (one, two):
        with pytest.raises(NoRoomError, match=r"2 jobs are active or next \(first_dag 2\), max_active_jobs is 2"):
            submit(other, 2)
    assert len(creates(emulator)) == 2
    assert not Ledger(two.run).has_submissions(), "a claim was withdrawn, so nobody searches for a job"

    emulator.advance(3600)
    clock.now += 31
    submit(one, 2)
    with pytest.raises(NoRoomError):
        submit(one, 3)
    submit(two, 2)

    assert held(limits) == ["first_dag", "second_dag"]
    assert len(creates(emulator)) == 4


def test_a_run_without_a_dag_is_a_group_of_its_own(submission_of: Callable[..., Submission], limits: ProjectLimits) -> None:
    submission = submission_of("one", limits)
    submit(submission, 0)

    assert held(limits) == [submission.run.destination.uri]


def test_the_service_is_looked_at_twice_a_minute_at_most(
    submission_of: Callable[..., Submission], limits: ProjectLimits, emulator: Emulator, clock: Clock
) -> None:
    one, two = submission_of("one", limits), submission_of("two", limits)
    submit(one, 0), submit(one, 1)

    before = _listings(emulator)
    for _ in range(5):
        with pytest.raises(NoRoomError):
            submit(two, 0)
    assert _listings(emulator) == before + 1
    clock.now += 31
    with pytest.raises(NoRoomError):
        submit(two, 0)
    assert _listings(emulator) == before + 2


def test_a_place_of_a_task_that_died_before_its_create_is_free_when_no_job_can_come_of_it(
    submission_of: Callable[..., Submission],
    limits: ProjectLimits,
    emulator: Emulator,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dies, lives = submission_of("dies", limits), submission_of("lives", limits)
    with monkeypatch.context() as patch:
        patch.setattr(GeminiClient, "create_job", _killed)
        for number in (0, 1):
            with pytest.raises(KeyboardInterrupt):
                submit(dies, number)
    clock.now += LONG / 2
    with pytest.raises(NoRoomError):
        submit(lives, 0)

    clock.now += 31

    submit(lives, 0)
    assert len(creates(emulator)) == 1


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_the_service_refuses_is_learned_by_all_runs(
    submission_of: Callable[..., Submission], tmp_path: Path, emulator: Emulator, clock: Clock
) -> None:
    limits = ProjectLimits(str(tmp_path / "limits"))
    prompt = "word " * 3_500 + "${body}"  # two of these are above the emulator's limit of enqueued tokens, one is not
    one, two = submission_of("one", limits, prompt), submission_of("two", limits, prompt)
    submit(one, 0), submit(one, 1)
    with pytest.raises(QuotaError) as error:
        submit(one, 2)
    assert not isinstance(error.value, NoRoomError)

    asked = _asked(emulator)
    with pytest.raises(NoRoomError, match=r"the service took no more of gemini-3\.6-flash 0 s ago, with 2 jobs"):
        submit(two, 0)
    assert _asked(emulator) == asked, "nothing was uploaded or created in vain"

    emulator.advance(3600)
    clock.now += 31
    submit(two, 0)
    submit(one, 2)
    assert len(creates(emulator)) == 4


def _listings(emulator: Emulator) -> int:
    return sum(call["count"] for call in emulator.calls() if call["route"].endswith("/batches"))


def _asked(emulator: Emulator) -> int:
    return sum(call["count"] for call in emulator.calls() if call["method"] == "POST")


def test_a_job_that_the_service_refuses_for_good_gives_its_place_back(
    submission_of: Callable[..., Submission], limits: ProjectLimits, emulator: Emulator
) -> None:
    submission = submission_of("one", limits)
    emulator.faults.add(HttpFault(do="status", status=403, when="before", path=CREATE, count=1))

    with pytest.raises(RefusedError):
        submit(submission, 0)

    assert held(limits) == []


def test_what_is_taken_above_a_refusal_lets_the_next_one_try_at_once(
    submission_of: Callable[..., Submission], tmp_path: Path, emulator: Emulator, clock: Clock
) -> None:
    submission = submission_of("one", ProjectLimits(str(tmp_path / "limits")))
    submit(submission, 0)
    emulator.faults.add(HttpFault(do="status", status=429, path=CREATE, count=1))
    with pytest.raises(QuotaError):
        submit(submission, 1)
    with pytest.raises(NoRoomError, match="the service took no more"):
        submit(submission, 1)

    clock.now += 61
    for number in (1, 2, 3):
        submit(submission, number)

    assert len(creates(emulator)) == 4


def test_a_place_that_is_lost_during_the_upload_leaves_no_claim(
    submission_of: Callable[..., Submission], limits: ProjectLimits, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission, upload = submission_of("one", limits), Submission._upload
    other = Slot(Demand("other", MODEL, 1), 1_800_000_000.0)

    def upload_slowly(self: Submission, *arguments: Any) -> str:
        record_of(limits).change(lambda state: (State({"a": other, "b": other}), None))
        return upload(self, *arguments)

    monkeypatch.setattr(Submission, "_upload", upload_slowly)

    with pytest.raises(NoRoomError):
        submit(submission, 0)

    assert not Ledger(submission.run).has_submissions()
    assert not creates(emulator)


def test_a_place_that_is_taken_again_while_somebody_looks_stays(
    submission_of: Callable[..., Submission], limits: ProjectLimits, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = submission_of("one", limits)
    old, young = (Slot(Demand("other", MODEL, 1), clock.now - age) for age in (1_000.0, 0.0))
    record = record_of(limits)
    record.change(lambda state: (State({"a": old, "b": old}), None))
    list_jobs = GeminiClient.list_jobs

    def list_slowly(self: GeminiClient) -> Iterator[Job]:
        yield from list_jobs(self)
        record.change(lambda state: (msgspec.structs.replace(state, slots={"a": old, "b": young}), None))

    monkeypatch.setattr(GeminiClient, "list_jobs", list_slowly)

    submit(submission, 0)

    assert set(record.read().slots) == {"b", token_of(submission.manifest, submission.manifest.shards[0])}


def test_the_listing_is_read_as_far_as_there_are_places(
    submission_of: Callable[..., Submission],
    limits: ProjectLimits,
    tmp_path: Path,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "LIST_PAGE_SIZE", 1)
    old = submission_of("old", ProjectLimits(str(tmp_path / "other limits")))
    for number in range(3):
        submit(old, number)
    submission = submission_of("one", limits)
    submit(submission, 0), submit(submission, 1)
    before = _listings(emulator)

    with pytest.raises(NoRoomError):
        submit(submission, 2)

    assert _listings(emulator) == before + 2


def test_runs_at_once_never_have_more_jobs_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "_TURN_WAIT", 0.05)
    monkeypatch.setattr(waits, "_LONGEST_TURN_WAIT", 0.1)
    monkeypatch.setattr(slots_module, "_LOOK_EVERY", 0.0)
    summaries: dict[str, Summary] = {}
    # The service refuses a third job, so what was learned would show one above the limit.
    options = {"pending_seconds": 0, "running_seconds": 0.3, "max_active_jobs": 2, "overflow": "refuse"}
    with Emulator(tmp_path / "busy", **options) as emulator:  # type: ignore[arg-type]
        limits = ProjectLimits(str(tmp_path / "limits"), max_active_jobs=2)
        endpoint = Endpoint(api_key=KEY, base_url=emulator.url, limits=limits)

        def go(name: str) -> None:
            request, destination = GenerateRequest(prompt="${body}"), str(tmp_path / name)
            summaries[name] = run_batch(
                table(6), request, model=MODEL, destination=destination, key="id", endpoint=endpoint, options=OPTIONS
            )

        threads = [threading.Thread(target=go, args=(name,)) for name in ("one", "two", "three")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert set(summaries) == {"one", "two", "three"}
        assert {(summary.results, summary.balanced) for summary in summaries.values()} == {(6, True)}
        assert len(creates(emulator)) == len(set(creates(emulator))) == 18
        assert record_of(limits).read().refusals == {}
