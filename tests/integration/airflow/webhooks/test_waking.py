"""From the end of a job to the task that waited for it: the emulator's webhook, the plugin's receiver, the triggerer."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from airflow_gemini_batch.emulator import JobFault, WebhookFault
from airflow_gemini_batch.operators.batch import GeminiBatchOperator
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger
from tests.integration.airflow.conftest import Passes
from tests.integration.airflow.test_poller import fetches
from tests.integration.airflow.webhooks.conftest import SECRET, SLOW, deliveries


def wait_for(jobs: list[str], *, poll_interval: float = SLOW, seconds: float = 20.0) -> tuple[dict[str, Any], float]:
    """The trigger's event, and the seconds until it fired."""
    trigger = GeminiBatchTrigger(
        gemini_conn_id="gemini_default", jobs=jobs, poll_interval=poll_interval, deadline=time.time() + seconds
    )

    async def event() -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    begun = time.monotonic()
    return asyncio.run(event()), time.monotonic() - begun


@pytest.mark.parametrize("kind", ["registered", "own"])
def test_a_webhook_wakes_the_waiting_trigger_without_a_poll(kind, request, emulator, connect, submit, folder):
    request.getfixturevalue(kind)
    jobs = submit()

    event, seconds = wait_for(jobs)

    assert event["why"] == "settled"
    assert seconds < 8
    assert fetches(emulator).total() == 1
    assert [delivery["webhook"] is None for delivery in deliveries(emulator)] == [kind == "own"]
    assert [file.name for file in folder.glob("*.*")] == [f"{jobs[0].removeprefix('batches/')}.succeeded"]


def test_a_whole_run_with_webhooks(emulator, registered, describe):
    operator: GeminiBatchOperator = describe(options={"poll_interval": SLOW})

    summary = Passes(operator).finish()

    assert (summary["results"], summary["balanced"]) == (12, True)


def test_duplicate_and_late_webhooks_change_nothing(emulator, registered, submit):
    emulator.faults.add(WebhookFault(do="out_of_order", nth=1, seconds=5), WebhookFault(do="duplicate", times=3))
    jobs = submit(2)

    for job in jobs:
        assert wait_for([job])[0]["why"] == "settled"

    assert {delivery["answered"] for delivery in deliveries(emulator, 2)} == {"204"}
    assert fetches(emulator).total() == 2


@pytest.mark.parametrize("do", ["bad_signature", "old_timestamp"])
def test_a_webhook_with_an_invalid_signature_wakes_no_trigger(do, emulator, registered, submit, folder):
    emulator.faults.add(WebhookFault(do=do, attempts=1_000))
    jobs = submit()

    _, seconds = wait_for(jobs, seconds=3)

    # The deadline ended the wait; the last check finds that the job has ended.
    assert seconds > 2.9
    assert not list(folder.glob("*.*"))
    assert emulator.deliveries()[0]["answered"] == "401"


def test_after_a_refused_attempt_the_next_attempt_is_accepted(emulator, own, submit):
    emulator.faults.add(WebhookFault(do="bad_signature"))

    event, _ = wait_for(submit())

    assert event["why"] == "settled"
    assert deliveries(emulator)[0]["attempts"] == 2


def test_polling_detects_the_end_when_a_webhook_is_lost(emulator, registered, submit):
    emulator.faults.add(WebhookFault(do="lost"))

    event, seconds = wait_for(submit(), poll_interval=0.4)

    assert event["why"] == "settled"
    # Ten times the interval, more or less a tenth.
    assert 3.5 < seconds < 7
    assert fetches(emulator).total() == 1


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(
            {"webhook_folder": "nosuchscheme://bucket/notifications", "webhook_signing_secret": SECRET}, id="no such folder"
        ),
        pytest.param({"webhook_folder": "/notifications"}, id="no secret"),
        pytest.param({"webhook_folder": "/notifications", "webhook_signing_secret": "whsec_oops!"}, id="invalid secret"),
        pytest.param({"webhook_signing_secret": SECRET}, id="no folder"),
    ],
)
def test_where_no_webhook_can_arrive_the_service_is_polled_at_the_normal_rate(extra, emulator, connect, submit, tmp_path):
    extra = {name: value.replace("/notifications", f"{tmp_path}/notifications") for name, value in extra.items()}
    connect(extra=json.dumps(extra))

    event, seconds = wait_for(submit(), poll_interval=0.3)

    assert event["why"] == "settled"
    assert seconds < 5
    assert fetches(emulator).total() >= 3


def test_an_embeddings_job_without_a_webhook_is_polled_at_the_normal_rate(emulator, own, submit):
    jobs = submit(embeds=True)

    event, _ = wait_for(jobs, poll_interval=0.3)

    assert event["why"] == "settled"
    assert fetches(emulator).total() >= 3
    assert emulator.deliveries() == []


def test_after_a_wrong_notification_the_job_is_polled_as_often_as_without_webhooks(emulator, registered, submit, folder):
    emulator.faults.add(JobFault(do="hang", hang_in="RUNNING"))
    [job] = submit()
    folder.mkdir()
    (folder / f"{job.removeprefix('batches/')}.succeeded").touch()

    event, _ = wait_for([job], poll_interval=0.5, seconds=3)

    assert event["why"] == "timeout"
    assert 4 <= fetches(emulator).total() <= 8


def test_each_waiting_trigger_is_woken_by_its_own_job(emulator, registered, submit):
    emulator.faults.add(JobFault(do="hang", display_name="job [1-3]$"))
    jobs = submit(4)
    deadline = time.time() + 5
    triggers = [
        GeminiBatchTrigger(gemini_conn_id="gemini_default", jobs=[job], poll_interval=SLOW, deadline=deadline) for job in jobs
    ]

    async def events() -> list[dict[str, Any]]:
        async def event(trigger: GeminiBatchTrigger) -> dict[str, Any]:
            return dict((await anext(trigger.run())).payload)

        return await asyncio.gather(*map(event, triggers))

    assert [event["why"] for event in asyncio.run(events())] == ["settled", "timeout", "timeout", "timeout"]
