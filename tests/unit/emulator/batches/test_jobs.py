"""The state of a job at a given time. It depends only on the job's data and the clock, so the tests are tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_gemini_batch.emulator.batches.jobs import Job, answered_at, snapshot_of
from airflow_gemini_batch.emulator.clock import HOUR, SECOND, timestamp_ns, timestamp_us
from airflow_gemini_batch.emulator.faults.kinds import JobFault

CREATED = 1_000 * HOUR
WRITTEN = CREATED + SECOND

JOB = Job(
    id="x" * 36,
    project="p",
    kind="generate",
    model="models/m",
    display_name="n",
    file_name="files/f",
    request_count=100,
    created_ns=CREATED,
    released_ns=CREATED,
    pending_ns=10 * SECOND,
    running_ns=100 * SECOND,
    lifetime_ns=48 * HOUR,
    output_ns=WRITTEN,
    output_rows=100,
    failed_rows=4,
)


@pytest.mark.parametrize(
    ("changes", "seconds", "state", "done"),
    [
        ({}, 0, "PENDING", False),
        ({}, 9.9, "PENDING", False),
        ({}, 10, "RUNNING", False),
        ({}, 110, "SUCCEEDED", True),
        ({}, 1e6, "SUCCEEDED", True),
        ({"output_ns": None}, 1000, "RUNNING", False),
        ({"released_ns": None}, 1000, "PENDING", False),
        ({"released_ns": None}, 48 * 3600, "EXPIRED", True),
        ({"pending_ns": 50 * HOUR}, 47 * 3600, "PENDING", False),
        ({"running_ns": 50 * HOUR}, 48 * 3600, "EXPIRED", True),
        ({"cancelled_ns": CREATED + 5 * SECOND}, 5, "CANCELLED", True),
        ({"plan": JobFault(do="fail")}, 109, "RUNNING", False),
        ({"plan": JobFault(do="fail")}, 110, "FAILED", True),
        ({"plan": JobFault(do="expire")}, 110, "EXPIRED", True),
        ({"plan": JobFault(do="hang")}, 1000, "PENDING", False),
        ({"plan": JobFault(do="hang", hang_in="RUNNING")}, 1000, "RUNNING", False),
        ({"plan": JobFault(do="hang", hang_in="RUNNING")}, 48 * 3600, "EXPIRED", True),
        ({"plan": JobFault(do="cancel", cancel_after_seconds=30)}, 29, "RUNNING", False),
        ({"plan": JobFault(do="cancel", cancel_after_seconds=30)}, 30, "CANCELLED", True),
        ({"plan": JobFault(state="BATCH_STATE_NEW")}, 110, "NEW", True),
    ],
)
def test_a_jobs_state_follows_the_clock(changes: dict[str, Any], seconds: float, state: str, done: bool):
    seen = snapshot_of(replace(JOB, **changes), CREATED + int(seconds * SECOND))

    assert (seen.state, seen.done) == (f"BATCH_STATE_{state}", done)


@pytest.mark.parametrize("seconds", range(0, 130, 7))
def test_counters_always_add_up(seconds: int):
    seen = snapshot_of(JOB, CREATED + seconds * SECOND)

    assert seen.successful + seen.failed + seen.pending == JOB.request_count


@pytest.mark.parametrize("seconds", [5, 30, 60])
def test_a_cancel_does_not_change_the_counters(seconds: int):
    moment = CREATED + seconds * SECOND
    before, after = snapshot_of(JOB, moment - 1), snapshot_of(replace(JOB, cancelled_ns=moment), moment + HOUR)

    assert after.pending > 0
    assert after.successful + after.failed == pytest.approx(before.successful + before.failed, abs=1)


@pytest.mark.parametrize(("place", "seconds"), [(0, 10), (1, 11), (50, 60), (99, 109)])
def test_requests_are_answered_one_by_one_while_the_job_runs(place: int, seconds: int):
    assert answered_at(JOB, place, now=CREATED) == CREATED + seconds * SECOND


def test_a_job_ends_when_its_output_is_written_if_that_is_later():
    late = replace(JOB, output_ns=CREATED + 500 * SECOND)

    assert snapshot_of(late, CREATED + 600 * SECOND).ended_ns == late.output_ns


def test_times_have_as_many_digits_as_the_services():
    moment = 1_757_246_107_827_892_252

    assert timestamp_ns(moment) == "2025-09-07T11:55:07.827892252Z"
    assert timestamp_us(moment) == "2025-09-07T11:55:07.827892Z"
