"""The events that a DAG scheduled on ended jobs receives."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from airflow_gemini_batch.emulator import HttpFault, JobFault, WebhookFault
from airflow_gemini_batch.triggers.events import GeminiBatchEventTrigger
from tests.integration.airflow.webhooks.conftest import deliveries, ended
from tests.integration.engine.scripted_server import Answer, serving

#: Seconds within which a watcher fires, also on a busy machine.
_PATIENCE = 30.0


def watch(
    seconds: float, *, expected: int | None = None, then: Callable[[], None] | None = None, **given: Any
) -> list[dict[str, Any]]:
    """What a watcher fires.

    :param seconds: how long it watches, or, with ``then`` or ``expected``, how long before what they say.
    :param expected: go on until so many events were fired, and two polls longer, in which they are stored and another would show.
    :param then: something that happens meanwhile.
    """
    trigger = GeminiBatchEventTrigger(**{"poll_interval": 0.3, "list_interval": 1_000, **given})
    fired: list[dict[str, Any]] = []
    enough = asyncio.Event()

    async def run() -> None:
        async for event in trigger.run():
            fired.append(dict(event.payload))
            if expected is not None and len(fired) >= expected:
                enough.set()

    async def for_a_while() -> None:
        watching = asyncio.create_task(run())
        await asyncio.wait([watching], timeout=seconds)
        if then is not None:
            then()
        if expected is not None:
            waiting = asyncio.create_task(enough.wait())
            await asyncio.wait([watching, waiting], timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            await asyncio.wait([watching], timeout=2 * trigger.poll_interval)
        if watching.done():
            await watching
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(for_a_while())
    return fired


def test_each_ended_job_fires_one_event_also_across_restarts(emulator, registered, submit):
    watch(0.5)
    jobs = submit(2)
    deliveries(emulator, 2)

    fired = watch(0, expected=2)

    assert {event["job"] for event in fired} == set(jobs)
    assert {(event["event"], event["state"]) for event in fired} == {("batch.succeeded", "SUCCEEDED")}
    assert fired[0]["output_file"].startswith("files/batch-")
    assert watch(1) == []


def test_other_watchers_fire_events_of_their_own(emulator, registered, submit):
    for events in (["batch.succeeded"], ["batch.failed"], ["batch.failed", "batch.succeeded"]):
        watch(0.3, events=events)
    emulator.faults.add(JobFault(do="fail", display_name="job 0"))
    failed, succeeded = submit(2)
    deliveries(emulator, 2)

    assert [event["job"] for event in watch(0, expected=1)] == [succeeded]
    assert [event["job"] for event in watch(0, expected=1, events=["batch.failed"])] == [failed]
    assert {event["job"] for event in watch(0, expected=2, events=["batch.failed", "batch.succeeded"])} == {failed, succeeded}


def test_a_notification_from_before_the_first_watch_fires_no_event(emulator, registered, submit, folder):
    submit()
    deliveries(emulator)

    assert list(folder.glob("*.succeeded"))
    assert watch(1) == []


def test_a_webhook_alone_does_not_fire_an_event(emulator, registered, submit, folder):
    emulator.faults.add(JobFault(do="hang"))
    [running] = submit()
    folder.mkdir()
    for name in (running.removeprefix("batches/"), "unknown"):
        (folder / f"{name}.succeeded").touch()

    assert watch(1) == []


def test_a_lost_webhook_delays_the_event(emulator, registered, submit):
    emulator.faults.add(WebhookFault(do="lost"))
    watch(0.5)
    jobs = submit()
    deliveries(emulator)

    assert [event["job"] for event in watch(0, expected=1, list_interval=0.5)] == jobs


def test_a_job_that_ended_before_the_first_watch_fires_no_event(emulator, connect, submit, folder):
    connect(extra=json.dumps({"webhook_folder": str(folder)}))
    submit()
    ended(emulator)

    assert watch(1, list_interval=0.3) == []


@pytest.mark.parametrize(("status", "count"), [(500, 5), (403, 2)])  # the SDK itself asks four times after a 500
def test_the_watch_continues_after_outages_and_refusals(status, count, emulator, registered, submit):
    watch(0.3)
    jobs = submit()
    deliveries(emulator)
    emulator.faults.add(HttpFault(do="status", status=status, path="/batches", count=count))

    assert [event["job"] for event in watch(0, expected=1, list_interval=0.3)] == jobs


@pytest.mark.parametrize(
    ("broken", "message"),
    [({"password": "invalid"}, "API key"), ({"extra": "{}"}, "webhook_folder"), ({"extra": "[]"}, "must be a JSON object")],
)
def test_it_continues_once_the_connection_is_fixed(broken, message, registered, connect, submit, emulator, monkeypatch, capsys):
    watch(0.3)
    jobs = submit()
    deliveries(emulator)
    good = os.environ["AIRFLOW_CONN_GEMINI_DEFAULT"]
    connect(**{"extra": json.loads(good)["extra"], **broken})

    def fix() -> None:
        monkeypatch.setenv("AIRFLOW_CONN_GEMINI_DEFAULT", good)

    assert [event["job"] for event in watch(1.2, expected=1, list_interval=0.3, then=fix)] == jobs
    assert message in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_delays_the_event(emulator, registered, submit, folder):
    watch(0.3)
    jobs = submit()
    deliveries(emulator)
    [marks] = (folder / "fired").iterdir()
    (marks / "since").rename(folder / "since")
    marks.rmdir()
    marks.write_text("a file where a folder should be")

    def fix() -> None:
        marks.unlink()
        marks.mkdir()
        (folder / "since").rename(marks / "since")

    assert [event["job"] for event in watch(1.2, expected=1, list_interval=0.3, then=fix)] == jobs


@pytest.mark.parametrize("cycle", [1, 2, 3])
def test_a_listing_whose_page_tokens_come_again_ends_and_what_it_showed_fires_events(cycle, connect, folder, capsys):
    """The service, or a proxy in its place, would otherwise be asked for pages for ever."""
    job = {"name": "batches/abc", "done": True, "response": {"responsesFile": "files/batch-abc"}}
    listed: list[str] = []

    def reply(method: str, path: str) -> Answer:
        now = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=5)
        found = {**job, "metadata": {"state": "BATCH_STATE_SUCCEEDED", "endTime": now.isoformat()}}
        if path.partition("?")[0].endswith("/batches"):
            listed.append(path)
            return Answer(body={"operations": [found], "nextPageToken": f"token {len(listed) % cycle}"})
        return Answer(body=found)

    with serving(reply) as script:
        connect(host=script.url, extra=json.dumps({"webhook_folder": str(folder)}))

        fired = watch(0, expected=1)

    assert [event["job"] for event in fired] == ["batches/abc"]
    # One listing by the watcher; the job itself is looked for in another.
    assert len(listed) <= 2 * (cycle + 1)
    assert "does not end" in capsys.readouterr().out


def test_it_can_be_stored_and_watched_with():
    from airflow.sdk import Asset, AssetWatcher

    trigger = GeminiBatchEventTrigger(events=["batch.failed", "batch.expired"])
    asset = Asset("gemini-batches", watchers=[AssetWatcher(name="ended", trigger=trigger)])

    path, arguments = asset.watchers[0].trigger.serialize()

    assert json.loads(json.dumps(arguments)) == arguments
    assert GeminiBatchEventTrigger(**arguments).serialize() == (path, arguments)
    with pytest.raises(ValueError, match=r"batch\.melted"):
        GeminiBatchEventTrigger(events=["batch.melted"])
