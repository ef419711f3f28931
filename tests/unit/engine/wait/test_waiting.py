"""When to look again, go on or give up: tables over plain values, without a clock."""

from __future__ import annotations

import pytest

from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ServiceError,
    UnreachableError,
)
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.wait.waiting import Sleep, Wake, Watch, is_settled, without_output

RUNNING = Job("batches/a", JobState.RUNNING)
DONE = Job("batches/b", JobState.SUCCEEDED, done=True, output_file="files/batch-b")
WITHOUT_OUTPUT = Job("batches/c", JobState.SUCCEEDED, done=True, input_file="files/in")
INLINE = Job("batches/c", JobState.SUCCEEDED, done=True)
FAILED = Job("batches/d", JobState.FAILED, done=True)


def watch(**changes: float) -> Watch:
    return Watch(("batches/a",), poll_interval=30.0, deadline=changes.get("deadline", 10_000.0), wake_at=changes.get("wake_at"))


@pytest.mark.parametrize(
    ("job", "settled"),
    [
        (RUNNING, False),
        (DONE, True),
        (WITHOUT_OUTPUT, False),
        (INLINE, True),
        (FAILED, True),
        (Job("batches/e", JobState.EXPIRED), True),
        (Job("batches/f", JobState.UNKNOWN, done=True, input_file="files/in"), False),
        (Job("batches/f", JobState.UNKNOWN, done=True, input_file="files/in", error_code=13), True),
    ],
)
def test_a_file_job_that_ended_well_is_settled_only_when_its_output_is_named(job: Job, settled: bool) -> None:
    assert is_settled(job) is settled


def test_running_jobs_are_looked_at_again_after_the_interval_give_or_take_a_tenth() -> None:
    decision = watch().on_fetched([RUNNING], now=0.0)

    assert isinstance(decision, Sleep)
    assert 27.0 <= decision.seconds <= 33.0


@pytest.mark.parametrize("job", [DONE, FAILED, None])
def test_one_job_that_needs_attention_wakes(job: Job | None) -> None:
    assert watch().on_fetched([RUNNING, job], now=0.0) == Wake("settled")


def test_a_job_that_ended_without_naming_its_output_wakes_once_and_again_when_it_names_it() -> None:
    knowing = Watch(("batches/c",), poll_interval=30.0, deadline=10_000.0, late=("batches/c",))

    assert watch().on_fetched([WITHOUT_OUTPUT], now=0.0) == Wake("settled")
    assert isinstance(knowing.on_fetched([WITHOUT_OUTPUT], now=0.0), Sleep)
    assert knowing.on_fetched([Job("batches/c", JobState.SUCCEEDED, output_file="files/batch-c")], now=0.0) == Wake("settled")


@pytest.mark.parametrize(
    ("error", "left", "resubmit_lost", "patient", "what"),
    [
        (OutcomeUnknownError("503"), 1.0, True, True, "ask again"),
        (OutcomeUnknownError("503"), 0.0, False, True, "error"),
        (OutcomeUnknownError("503"), 0.0, True, False, "ask again"),
        (OutcomeUnknownError("503"), 0.0, True, True, "lost"),
        (NotFoundError("not named"), 0.0, True, True, "lost"),
        (UnreachableError("no route"), 0.0, True, True, "error"),
        (QuotaError("429"), 0.0, True, True, "error"),
    ],
)
def test_an_output_is_lost_only_on_the_users_word_and_the_services(
    error: ServiceError, left: float, resubmit_lost: bool, patient: bool, what: str
) -> None:
    assert without_output(error, left=left, resubmit_lost=resubmit_lost, patient=patient) == what


def test_the_deadline_ends_the_wait_and_a_settled_job_still_counts_after_it() -> None:
    assert watch(deadline=5.0).on_fetched([RUNNING], now=5.0) == Wake("timeout")
    assert watch(deadline=5.0).on_fetched([DONE], now=6.0) == Wake("settled")


def test_the_agreed_time_wakes_and_no_sleep_goes_beyond_it() -> None:
    assert watch(wake_at=10.0).on_fetched([RUNNING], now=10.0) == Wake("time")
    assert watch(wake_at=10.0).on_fetched([RUNNING], now=8.0) == Sleep(2.0)


def test_no_sleep_goes_beyond_the_deadline() -> None:
    assert watch(deadline=12.0).on_fetched([RUNNING], now=10.0) == Sleep(2.0)


def test_an_outage_is_waited_out_at_growing_distances_up_to_a_limit() -> None:
    watching = watch(deadline=1e9)

    waits = [watching.on_error(OutcomeUnknownError("503", code=503), now=0.0) for _ in range(20)]

    seconds = [wait.seconds for wait in waits if isinstance(wait, Sleep)]
    assert len(seconds) == 20
    assert all(30.0 <= wait <= 300.0 for wait in seconds)
    assert max(seconds) > 120.0


def test_a_good_look_forgets_the_outage() -> None:
    watching = watch(deadline=1e9)
    for _ in range(10):
        watching.on_error(UnreachableError("no route"), now=0.0)

    watching.on_fetched([RUNNING], now=0.0)

    decision = watching.on_error(UnreachableError("no route"), now=0.0)
    assert isinstance(decision, Sleep)
    assert decision.seconds <= 60.0


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (OutcomeUnknownError("dropped"), True),
        (UnreachableError("refused"), True),
        (QuotaError("429"), True),
        (ApiKeyError("bad key"), False),
        (RefusedError("400"), False),
        (NotFoundError("404"), False),
    ],
)
def test_what_may_pass_is_waited_for_and_what_will_not_is_told(error: ServiceError, goes_on: bool) -> None:
    decision = watch().on_error(error, now=0.0)

    assert isinstance(decision, Sleep) is goes_on
    assert goes_on or decision == Wake("error", error)
