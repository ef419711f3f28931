"""What is stored in the metadata database, and what the trigger decides after a check."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import ApiKeyError, OutcomeUnknownError
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.wait.waiting import Sleep, Wake, Watch
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger

RUNNING = Job("batches/a", JobState.RUNNING)
SETTLED = Job("batches/b", JobState.FAILED, done=True)
OUTAGE = OutcomeUnknownError("503", code=503)
WRONG_KEY = ApiKeyError("400", code=400)


def trigger(**arguments: Any) -> GeminiBatchTrigger:
    given = {"gemini_conn_id": "gemini_default", "jobs": ["batches/a"], "poll_interval": 30.0, "deadline": time.time() + 60}
    return GeminiBatchTrigger(**{**given, **arguments})


def only_event(trigger: GeminiBatchTrigger) -> dict[str, Any]:
    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    [payload] = asyncio.run(events())
    return dict(payload)


def test_the_arguments_are_plain_json_that_make_the_same_trigger() -> None:
    original = trigger(
        jobs=("batches/a", "batches/b"),
        wake_at=time.time(),
        refusals=2,
        cancel_on_kill=True,
        destination="s3://c@b/run",
        until=9e9,
        standing={"requests": 10, "done": 4, "jobs": 2, "jobs_done": 0, "usd": 0.5},
        marks=[(1.0, 4)],
    )
    path, arguments = original.serialize()

    again = GeminiBatchTrigger(**json.loads(json.dumps(arguments)))

    assert path == f"{GeminiBatchTrigger.__module__}.{GeminiBatchTrigger.__name__}"
    assert again.serialize() == (path, arguments)


def test_the_arguments_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "AIzaCanaryKeyThatMustNotLeak0123456789"
    monkeypatch.setenv("AIRFLOW_CONN_GEMINI_DEFAULT", json.dumps({"conn_type": "gemini", "password": key}))

    assert key not in json.dumps(trigger().serialize())
    assert key not in repr(trigger())


@pytest.mark.parametrize(
    ("answers", "decision"),
    [
        ([RUNNING], Sleep),
        ([RUNNING, SETTLED], Wake("settled")),
        ([RUNNING, None], Wake("settled")),
        ([RUNNING, OUTAGE], Sleep),
        ([OUTAGE, SETTLED], Wake("settled")),
        ([OUTAGE], Sleep),
        ([WRONG_KEY], Wake("error", WRONG_KEY)),
        ([OUTAGE, WRONG_KEY], Wake("error", WRONG_KEY)),
        ([WRONG_KEY, SETTLED], Wake("settled")),
    ],
)
def test_a_job_that_can_be_collected_wakes_the_task_although_another_could_not_be_fetched(
    answers: list[Any], decision: Any
) -> None:
    watch = Watch((), poll_interval=30.0, deadline=1_000.0)

    decided = watch.on_fetched(answers, now=0.0)

    assert isinstance(decided, Sleep) if decision is Sleep else decided == decision


def test_without_jobs_it_waits_for_a_time_and_needs_no_connection() -> None:
    deadline = time.time() + 60

    event = only_event(trigger(gemini_conn_id="nowhere", jobs=[], wake_at=time.time() + 0.1, deadline=deadline, refusals=3))

    assert event == {"why": "time", "message": "", "deadline": deadline, "refusals": 3, "marks": []}


def test_a_wait_beyond_the_deadline_returns_the_deadline_unchanged() -> None:
    deadline = time.time() - 60

    event = only_event(trigger(jobs=[], wake_at=time.time() + 0.2, deadline=deadline, until=time.time() + 60))

    assert (event["why"], event["deadline"]) == ("time", deadline)


def test_arguments_of_an_earlier_release_are_understood() -> None:
    _, arguments = trigger().serialize()
    of_then = {name: value for name, value in arguments.items() if name not in ("destination", "until")}

    again = GeminiBatchTrigger(**of_then)

    assert (again.destination, again.until) == (None, again.deadline)


def test_the_wait_ends_at_the_deadline() -> None:
    assert only_event(trigger(jobs=[], wake_at=time.time() + 60, deadline=time.time() + 0.1))["why"] == "timeout"


def test_a_missing_connection_is_an_event_and_not_a_traceback() -> None:
    event = only_event(trigger(gemini_conn_id="nowhere"))

    assert event["why"] == "error"
    assert "Airflow has no connection 'nowhere'" in event["message"]
