"""Many triggers in one triggerer: their requests, counted by the service."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google import genai

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, ListingFault
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.triggers import poller
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger
from airflow_gemini_batch.triggers.poller import shared_poller
from tests.integration.airflow.conftest import KEY, MODEL


@pytest.fixture
def jobs(emulator: Emulator, connect: Callable[..., None], tmp_path: Path) -> Callable[[int], list[str]]:
    """Create jobs that run until the test ends them."""

    def make(count: int) -> list[str]:
        line = b'{"key": "a", "request": {"contents": [{"parts": [{"text": "hello"}]}]}}\n'
        (tmp_path / "one.jsonl").write_bytes(line)
        with GeminiClient(Endpoint(api_key=KEY, base_url=emulator.url)) as client, open(tmp_path / "one.jsonl", "rb") as file:
            uploaded = client.upload(file, name=None, display_name="one").name
            return [client.create_job(model=MODEL, input_file=uploaded, display_name=f"job {n}").name for n in range(count)]

    return make


def hang(emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang", hang_in="RUNNING"))


def waits(jobs: list[str], *, seconds: float, poll_interval: float = 0.5, each: int = 1) -> list[GeminiBatchTrigger]:
    return [
        GeminiBatchTrigger(
            gemini_conn_id="gemini_default",
            jobs=jobs[first : first + each],
            poll_interval=poll_interval,
            deadline=time.time() + seconds,
        )
        for first in range(0, len(jobs), each)
    ]


async def events_of(triggers: list[GeminiBatchTrigger]) -> list[dict[str, Any]]:
    async def event(trigger: GeminiBatchTrigger) -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    return await asyncio.gather(*map(event, triggers))


def fetches(emulator: Emulator) -> Counter[str]:
    """Calls that fetch jobs, by kind."""
    kinds = {"/v1beta/batches": "list", "/v1beta/batches/*": "get"}
    counted: Counter[str] = Counter()
    for call in emulator.calls():
        if call["method"] == "GET" and call["route"] in kinds:
            counted[kinds[call["route"]]] += call["count"]
    return counted


def test_fifty_waiting_jobs_cost_one_listing_for_each_interval(emulator: Emulator, jobs: Callable[[int], list[str]]) -> None:
    hang(emulator)
    triggers = waits(jobs(50), seconds=3.0)

    events = asyncio.run(events_of(triggers))

    assert {event["why"] for event in events} == {"timeout"}
    # Six intervals of half a second, each shortened by up to a tenth, and a last check at the deadline.
    assert 5 <= fetches(emulator)["list"] <= 9
    assert fetches(emulator)["get"] == 0


def test_one_job_is_listed_too_since_get_would_bring_the_answers_of_an_inline_one(
    emulator: Emulator, jobs: Callable[[int], list[str]]
) -> None:
    hang(emulator)
    triggers = waits(jobs(1), seconds=1.0)

    asyncio.run(events_of(triggers))

    assert 2 <= fetches(emulator)["list"] <= 4
    assert fetches(emulator)["get"] == 0


def test_each_trigger_fires_when_one_of_its_jobs_has_ended(emulator: Emulator, jobs: Callable[[int], list[str]]) -> None:
    emulator.faults.add(JobFault(do="hang", display_name="job [0-8]$"))
    triggers = waits(jobs(10), seconds=2.0, poll_interval=0.2, each=5)

    events = asyncio.run(events_of(triggers))

    assert [event["why"] for event in events] == ["timeout", "settled"]


def test_jobs_that_the_listing_does_not_show_yet_are_not_missing(emulator: Emulator, jobs: Callable[[int], list[str]]) -> None:
    hang(emulator)
    emulator.faults.add(ListingFault(lag_seconds=3_600))
    triggers = waits(jobs(5), seconds=0.6, poll_interval=0.2)

    events = asyncio.run(events_of(triggers))

    assert {event["why"] for event in events} == {"timeout"}
    assert fetches(emulator)["get"] >= 5


def test_a_job_on_a_late_page_is_found(emulator: Emulator, jobs: Callable[[int], list[str]]) -> None:
    hang(emulator)
    emulator.faults.add(ListingFault(page_size=2, empty_pages=(2,)))
    names = jobs(9)

    async def fetch() -> dict[str, Any]:
        async with shared_poller(Endpoint(api_key=KEY, base_url=emulator.url)) as shared:
            return await shared.fetch(names, within=0)

    seen = asyncio.run(fetch())

    assert [seen[name].name for name in names] == names
    assert fetches(emulator)["list"] + fetches(emulator)["get"] < 2 * len(names)


def test_a_job_that_is_not_found_is_reported_as_such(emulator: Emulator, jobs: Callable[[int], list[str]]) -> None:
    hang(emulator)
    names = [*jobs(4), "batches/unknown"]

    async def fetch() -> dict[str, Any]:
        async with shared_poller(Endpoint(api_key=KEY, base_url=emulator.url)) as shared:
            return await shared.fetch(names, within=0)

    seen = asyncio.run(fetch())

    assert seen["batches/unknown"] is None
    assert all(seen[name] is not None for name in names[:4])


@pytest.mark.parametrize("fault", [{"do": "drop"}, {"do": "status", "status": 403}], ids=["outage", "refusal"])
def test_one_fetch_answers_all_waiting_triggers(
    fault: dict[str, Any], emulator: Emulator, jobs: Callable[[int], list[str]]
) -> None:
    names = jobs(5)
    emulator.faults.add(HttpFault(**fault, method="GET", path="/batches", count=1))

    events = asyncio.run(events_of(waits(names, seconds=10.0, poll_interval=0.2)))

    assert {event["why"] for event in events} == {"settled" if fault["do"] == "drop" else "error"}


def test_the_client_is_closed_after_its_last_user(emulator: Emulator, jobs: Callable[[int], list[str]]) -> None:
    names = jobs(2)
    endpoint = Endpoint(api_key=KEY, base_url=emulator.url)

    async def come_and_go() -> None:
        async with shared_poller(endpoint) as first:
            async with shared_poller(endpoint) as second:
                assert second is first
                await second.fetch(names, within=0)
            await first.fetch(names, within=0)
        async with shared_poller(endpoint) as third:
            assert third is not first
        assert not poller._shared[asyncio.get_running_loop()]

    asyncio.run(come_and_go())


def test_cancelling_one_trigger_leaves_the_others_waiting(emulator: Emulator, jobs: Callable[[int], list[str]]) -> None:
    """A triggerer that shuts down, or moves a trigger to another one, cancels it; the jobs and the other triggers continue."""
    hang(emulator)
    triggers = waits(jobs(2), seconds=1.0, poll_interval=0.2)

    async def cancel_the_first() -> dict[str, Any]:
        first, second = (asyncio.create_task(events_of([trigger])) for trigger in triggers)
        while not await asyncio.to_thread(fetches, emulator):
            await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        [event] = await second
        return event

    assert asyncio.run(cancel_the_first())["why"] == "timeout"
    assert {job["state"] for job in emulator.jobs()} == {"BATCH_STATE_RUNNING"}


def test_a_client_is_built_without_blocking_the_event_loop(
    emulator: Emulator, jobs: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a tenth of a second, which would delay hundreds of other triggers."""
    hang(emulator)
    waiting = waits(jobs(1), seconds=0.5, poll_interval=0.2)
    built_in: list[threading.Thread] = []

    class Client(genai.Client):
        def __init__(self, **arguments: Any) -> None:
            built_in.append(threading.current_thread())
            super().__init__(**arguments)

    monkeypatch.setattr(genai, "Client", Client)

    asyncio.run(events_of(waiting))

    assert len(built_in) == 1
    assert threading.current_thread() not in built_in
