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
from tests.integration.airflow.conftest import Legs
from tests.integration.airflow.test_poller import looks
from tests.integration.airflow.webhooks.conftest import SECRET, SLOW, deliveries


def wait_for(jobs: list[str], *, poll_interval: float = SLOW, seconds: float = 20.0) -> tuple[dict[str, Any], float]:
    """The trigger's event, and after how many seconds it came."""
    trigger = GeminiBatchTrigger(
        gemini_conn_id="gemini_default", jobs=jobs, poll_interval=poll_interval, deadline=time.time() + seconds
    )

    async def event() -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    begun = time.monotonic()
    return asyncio.run(event()), time.monotonic() - begun


@pytest.mark.parametrize("kind", ["registered", "own"])
def test_a_webhook_wakes_who_waits_and_nobody_polls(kind, request, emulator, connect, submit, folder):
    request.getfixturevalue(kind)
    jobs = submit()

    event, seconds = wait_for(jobs)

    assert event["why"] == "settled"
    assert seconds < 8
    assert looks(emulator).total() == 1
    assert [delivery["webhook"] is None for delivery in deliveries(emulator)] == [kind == "own"]
    assert [knock.name for knock in folder.glob("*.*")] == [f"{jobs[0].removeprefix('batches/')}.succeeded"]


def test_the_whole_trip_with_webhooks(emulator, registered, describe):
    operator: GeminiBatchOperator = describe(options={"poll_interval": SLOW})

    summary = Legs(operator).finish()

    assert (summary["results"], summary["balanced"]) == (12, True)


def test_duplicates_and_disorder_change_nothing(emulator, registered, submit):
    emulator.faults.add(WebhookFault(do="out_of_order", nth=1, seconds=5), WebhookFault(do="duplicate", times=3))
    jobs = submit(2)

    for job in jobs:
        assert wait_for([job])[0]["why"] == "settled"

    assert {delivery["answered"] for delivery in deliveries(emulator, 2)} == {"204"}
    assert looks(emulator).total() == 2


@pytest.mark.parametrize("do", ["bad_signature", "old_timestamp"])
def test_a_webhook_that_cannot_be_believed_wakes_nobody(do, emulator, registered, submit, folder):
    emulator.faults.add(WebhookFault(do=do, attempts=1_000))
    jobs = submit()

    _, seconds = wait_for(jobs, seconds=3)

    # The deadline is what ended the wait; the last look at it finds the job ended.
    assert seconds > 2.9
    assert not list(folder.glob("*.*"))
    assert emulator.deliveries()[0]["answered"] == "401"


def test_a_bad_try_is_followed_by_a_good_one(emulator, own, submit):
    emulator.faults.add(WebhookFault(do="bad_signature"))

    event, _ = wait_for(submit())

    assert event["why"] == "settled"
    assert deliveries(emulator)[0]["attempts"] == 2


def test_a_lost_webhook_is_made_good_by_polling(emulator, registered, submit):
    emulator.faults.add(WebhookFault(do="lost"))

    event, seconds = wait_for(submit(), poll_interval=0.4)

    assert event["why"] == "settled"
    # Ten times the interval, more or less a tenth.
    assert 3.5 < seconds < 7
    assert looks(emulator).total() == 1


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"webhook_folder": "nosuchscheme://bucket/knocks", "webhook_signing_secret": SECRET}, id="no such folder"),
        pytest.param({"webhook_folder": "/knocks"}, id="nobody can knock"),
        pytest.param({"webhook_folder": "/knocks", "webhook_signing_secret": "whsec_oops!"}, id="nobody is believed"),
        pytest.param({"webhook_signing_secret": SECRET}, id="no folder"),
    ],
)
def test_where_no_knock_can_come_the_service_is_polled_as_ever(extra, emulator, connect, submit, tmp_path):
    extra = {name: value.replace("/knocks", f"{tmp_path}/knocks") for name, value in extra.items()}
    connect(extra=json.dumps(extra))

    event, seconds = wait_for(submit(), poll_interval=0.3)

    assert event["why"] == "settled"
    assert seconds < 5
    assert looks(emulator).total() >= 3


def test_an_embeddings_job_that_has_no_webhook_of_its_own_is_polled_as_ever(emulator, own, submit):
    jobs = submit(embeds=True)

    event, _ = wait_for(jobs, poll_interval=0.3)

    assert event["why"] == "settled"
    assert looks(emulator).total() >= 3
    assert emulator.deliveries() == []


def test_a_knock_that_is_wrong_makes_it_look_as_often_as_without_webhooks(emulator, registered, submit, folder):
    emulator.faults.add(JobFault(do="hang", hang_in="RUNNING"))
    [job] = submit()
    folder.mkdir()
    (folder / f"{job.removeprefix('batches/')}.succeeded").touch()

    event, _ = wait_for([job], poll_interval=0.5, seconds=3)

    assert event["why"] == "timeout"
    assert 4 <= looks(emulator).total() <= 8


def test_many_who_wait_are_each_woken_by_their_own(emulator, registered, submit):
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
