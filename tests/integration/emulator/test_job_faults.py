"""Job faults: jobs that do not simply succeed."""

from __future__ import annotations

import pytest
from google.genai import errors

from airflow_gemini_batch.emulator import JobFault, RowFault


def test_a_failed_job_has_the_given_error(emulator, steps, http):
    emulator.faults.add(JobFault(do="fail", display_name="^bad$", error_code=8, error_message="No capacity."))
    bad, good = steps.submit(display_name="bad"), steps.submit(display_name="good")
    emulator.advance(1000)

    operation = http.get(f"/v1/{bad.name}").json()

    assert operation["metadata"]["state"] == "BATCH_STATE_FAILED"
    assert operation["error"] == {"code": 8, "message": "No capacity."}
    assert "response" not in operation
    assert steps.state(good) == "JOB_STATE_SUCCEEDED"


def test_only_the_nth_create_fails(emulator, steps):
    emulator.faults.add(JobFault(do="fail", nth=2))
    jobs = [steps.submit(1) for _ in range(3)]
    emulator.advance(1000)

    assert [steps.state(job) for job in jobs] == ["JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_SUCCEEDED"]


def test_a_job_expires_without_results(emulator, client, steps):
    emulator.faults.add(JobFault(do="expire"))
    job = steps.submit()
    emulator.advance(1000)

    assert steps.state(job) == "JOB_STATE_EXPIRED"
    assert client.batches.get(name=job.name).dest is None


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_job_hangs_until_it_expires(emulator, steps, http, state):
    emulator.faults.add(JobFault(do="hang", hang_in=state))
    job = steps.submit()

    emulator.advance(40 * 3600)
    first = http.get(f"/v1/{job.name}").json()["metadata"]
    emulator.advance(3600)
    second = http.get(f"/v1/{job.name}").json()["metadata"]
    emulator.advance(8 * 3600)

    assert first["state"] == f"BATCH_STATE_{state}"
    assert first == second
    assert steps.state(job) == "JOB_STATE_EXPIRED"


def test_a_hanging_job_can_be_cancelled(emulator, client, steps):
    emulator.faults.add(JobFault(do="hang"))
    job = steps.submit()

    client.batches.cancel(name=job.name)

    assert steps.state(job) == "JOB_STATE_CANCELLED"


@pytest.mark.parametrize(("leaves", "rows"), [(None, None), (0.5, 5)])
def test_somebody_else_cancels_and_may_leave_part_of_the_output(emulator, client, steps, leaves, rows):
    emulator.faults.add(JobFault(do="cancel", cancel_after_seconds=20, cancel_leaves=leaves))
    job = steps.submit(10)
    assert steps.state(job) == "JOB_STATE_PENDING"
    emulator.advance(21)

    assert steps.state(job) == "JOB_STATE_CANCELLED"
    if rows is None:
        assert client.batches.get(name=job.name).dest is None
    else:
        assert len(steps.rows(job)) == rows


def test_our_own_cancel_may_leave_part_of_the_output(emulator, client, steps):
    emulator.faults.add(JobFault(cancel_leaves=0.3))
    job = steps.submit(10)

    client.batches.cancel(name=job.name)
    assert emulator.wait_idle()

    assert len(steps.rows(job)) == 3


def test_a_cancel_may_come_too_late(emulator, client, steps):
    emulator.faults.add(JobFault(cancel_is_ignored=True))
    job = steps.submit()

    client.batches.cancel(name=job.name)
    emulator.advance(1000)

    assert steps.state(job) == "JOB_STATE_SUCCEEDED"


def test_the_responses_file_can_be_late_by_polls(emulator, client, steps):
    emulator.faults.add(JobFault(responses_file_late_polls=2))
    job = steps.submit()
    emulator.advance(1000)

    looks = [client.batches.get(name=job.name) for _ in range(3)]

    assert [look.state.name for look in looks] == ["JOB_STATE_SUCCEEDED"] * 3
    assert [look.dest is not None and look.dest.file_name is not None for look in looks] == [False, False, True]


def test_a_listing_is_a_poll_too(emulator, client, steps):
    emulator.faults.add(JobFault(responses_file_late_polls=2))
    steps.submit()
    emulator.advance(1000)

    looks = [next(iter(client.batches.list())) for _ in range(3)]

    assert [look.dest is not None and look.dest.file_name is not None for look in looks] == [False, False, True]


def test_the_responses_file_can_be_late_by_seconds(emulator, client, steps):
    emulator.faults.add(JobFault(responses_file_late_seconds=60))
    job = steps.submit()
    emulator.advance(115)
    early = client.batches.get(name=job.name)
    emulator.advance(60)

    assert early.state.name == "JOB_STATE_SUCCEEDED"
    assert not (early.dest and early.dest.file_name)
    assert len(steps.rows(job)) == 10


@pytest.mark.filterwarnings("ignore:.*is not a valid")
def test_a_job_in_an_unknown_state_is_done(emulator, steps, http):
    emulator.faults.add(JobFault(state="BATCH_STATE_PARTIALLY_SUCCEEDED"))
    job = steps.submit()
    emulator.advance(1000)

    operation = http.get(f"/v1/{job.name}").json()

    assert operation["metadata"]["state"] == "BATCH_STATE_PARTIALLY_SUCCEEDED"
    assert operation["done"] is True
    assert operation["response"]["responsesFile"]


def test_a_job_may_skip_running(emulator, steps):
    emulator.faults.add(JobFault(running_seconds=0))
    job = steps.submit()

    assert steps.state(job) == "JOB_STATE_PENDING"
    emulator.advance(10)
    assert steps.state(job) == "JOB_STATE_SUCCEEDED"


def test_all_rows_may_fail_in_a_job_that_succeeds(emulator, steps, http):
    emulator.faults.add(RowFault(do="error", code=3, message="Request contains an invalid argument."))
    job = steps.submit(10)
    emulator.advance(1000)

    assert {row["error"]["code"] for row in steps.rows(job)} == {3}
    metadata = http.get(f"/v1/{job.name}").json()["metadata"]
    assert metadata["state"] == "BATCH_STATE_SUCCEEDED"
    assert metadata["batchStats"] == {"requestCount": "10", "failedRequestCount": "10"}


def test_the_output_can_be_lost_early(emulator, client, steps):
    emulator.faults.add(JobFault(output_lost_after_hours=2))
    job = steps.submit()
    emulator.advance(1000)
    assert len(steps.rows(job)) == 10

    emulator.advance(2 * 3600)

    with pytest.raises(errors.ClientError, match="403"):
        steps.rows(job)
