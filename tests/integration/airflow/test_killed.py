"""After a kill, a timeout or a clear: what happens to the jobs, and how the task resumes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from airflow_gemini_batch import GeminiBatchOperator, GeminiBatchSensor, GeminiBatchSubmitOperator
from airflow_gemini_batch._compat import AirflowTaskTimeout
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.operators._cancellation import TaskKilled
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger
from tests.integration.airflow.conftest import Passes, context, created, read

Describe = Callable[..., GeminiBatchOperator]
TaskState = Callable[[str | None], None]

CANCELLED = "BATCH_STATE_CANCELLED"


def why_cancelled(run: Path, shards: int = 3) -> list[str | None]:
    ledger = Ledger(Run(locate(str(run))))
    found = [ledger.cancellation(ShardAttempt(number)) for number in range(shards)]
    return [cancellation.why if cancellation else None for cancellation in found]


def states(emulator: Emulator) -> set[str]:
    return {job["state"] for job in emulator.jobs()}


@pytest.fixture
def as_airflow_kills() -> Iterator[Callable[[Any, Callable[[], bool]], None]]:
    """SIGTERM, handled as Airflow's task runner does, as soon as a condition is true."""
    before = signal.getsignal(signal.SIGTERM)
    waiting: list[threading.Thread] = []

    def kill(operator: Any, when: Callable[[], bool]) -> None:
        def on_term(number: int, frame: FrameType | None) -> None:
            operator.on_kill()

        def watch() -> None:
            until = time.monotonic() + 20
            while not when() and time.monotonic() < until:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        signal.signal(signal.SIGTERM, on_term)
        waiting.append(threading.Thread(target=watch))
        waiting[-1].start()

    yield kill
    for thread in waiting:
        thread.join()
    signal.signal(signal.SIGTERM, before)


def test_killed_while_deferred_the_ledger_says_why_and_the_next_try_resubmits(
    describe: Describe, tmp_path: Path, task_state: TaskState, emulator: Emulator
) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang", display_name="attempt 0"))
    passes = Passes(describe(options={"max_redrives": 0})).start()

    asyncio.run(passes.trigger.on_kill())
    assert (states(emulator), why_cancelled(tmp_path / "run")) == ({CANCELLED}, ["killed"] * 3)

    summary = Passes(describe(options={"max_redrives": 0})).finish()
    assert (summary["results"], summary["dead_letter"], summary["balanced"]) == (12, 0, True)
    assert sorted(name.split(" of ")[0].split(" ", 1)[1] for name in created(emulator)) == [
        f"shard {shard} attempt {attempt}" for shard in range(3) for attempt in range(2)
    ]


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "running", "restarting", "deferred", "up_for_retry"])
def test_a_killed_task_that_goes_on_keeps_its_jobs_for_the_next_try(
    state: str | None, describe: Describe, tmp_path: Path, task_state: TaskState, emulator: Emulator
) -> None:
    task_state(state)
    passes = Passes(describe()).start()

    asyncio.run(passes.trigger.on_kill())
    summary = Passes(describe()).finish()

    assert emulator.journal("cancel") == []
    assert why_cancelled(tmp_path / "run") == [None] * 3
    assert summary["results"] == 12
    assert len(created(emulator)) == 3


def test_a_next_try_that_waits_already_when_the_old_trigger_is_killed_keeps_the_jobs_that_it_adopted(
    describe: Describe, tmp_path: Path, task_state: TaskState, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    old = Passes(describe()).start()
    new = Passes(describe()).start()
    task_state("deferred")

    asyncio.run(old.trigger.on_kill())

    assert new.trigger.jobs == old.trigger.jobs
    assert (emulator.journal("cancel"), why_cancelled(tmp_path / "run")) == ([], [None] * 3)


@pytest.mark.parametrize("where", ["triggerer", "worker"])
def test_if_airflow_does_not_say_whether_the_task_has_ended_the_jobs_keep_running(
    where: str, describe: Describe, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    task = describe()
    passes = Passes(task).start()

    if where == "triggerer":
        asyncio.run(passes.trigger.on_kill())
    else:
        with task.one_pass(context()):
            pass
        task.on_kill()

    assert emulator.journal("cancel") == []


@pytest.mark.parametrize(("state", "cancelled"), [("restarting", False), ("running", False), ("failed", True), ("success", True)])
def test_a_task_killed_on_the_worker_cancels_its_jobs_only_if_it_has_ended(
    state: str, cancelled: bool, describe: Describe, task_state: TaskState, emulator: Emulator, as_airflow_kills: Any
) -> None:
    task_state(state)
    emulator.faults.add(JobFault(do="hang"))
    task = describe(deferrable=False)
    as_airflow_kills(task, when=lambda: len(created(emulator)) == 3)

    with pytest.raises(TaskKilled):
        task.execute(Passes(task).context)

    assert bool(emulator.journal("cancel")) is cancelled


def test_rows_of_a_job_cancelled_from_outside_are_not_resubmitted(describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="cancel", display_name="shard 1"))

    summary = Passes(describe()).finish()

    assert (summary["results"], summary["reasons"]) == (7, {"JOB_CANCELLED": 5})
    assert len(created(emulator)) == 3


def test_a_triggerer_that_cannot_read_the_run_still_cancels_its_jobs(
    describe: Describe, tmp_path: Path, task_state: TaskState, emulator: Emulator
) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang"))
    passes = Passes(describe()).start()
    shutil.move(tmp_path / "run", tmp_path / "on another machine")

    asyncio.run(passes.trigger.on_kill())

    assert states(emulator) == {CANCELLED}


def test_repeated_kill_requests_of_the_triggerer_do_not_stop_the_cancellation(
    describe: Describe, tmp_path: Path, task_state: TaskState, emulator: Emulator
) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang"), HttpFault(do="delay", seconds=0.7, path=":cancel"))
    trigger = Passes(describe()).start().trigger

    async def as_the_triggerer_does() -> None:
        kill = asyncio.ensure_future(asyncio.wait_for(trigger.on_kill(), timeout=30))
        for _ in range(3):
            await asyncio.sleep(0.1)
            kill.cancel()
        while len(emulator.journal("cancel")) < 3:
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(as_the_triggerer_does(), timeout=20))

    assert (states(emulator), why_cancelled(tmp_path / "run")) == ({CANCELLED}, ["killed"] * 3)


def test_a_trigger_of_an_earlier_release_still_cancels(describe: Describe, task_state: TaskState, emulator: Emulator) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang"))
    _, arguments = Passes(describe()).start().trigger.serialize()
    of_then = {name: value for name, value in arguments.items() if name not in ("destination", "until")}

    trigger = GeminiBatchTrigger(**of_then)
    trigger.task_instance = context()["ti"]
    asyncio.run(trigger.on_kill())

    assert states(emulator) == {CANCELLED}


def test_killed_on_the_worker_the_task_stops_before_it_cancels(
    describe: Describe, tmp_path: Path, task_state: TaskState, emulator: Emulator, as_airflow_kills: Any
) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang", display_name="attempt 0"))
    emulator.faults.add(HttpFault(do="delay", seconds=1.0, path=":batchGenerateContent", when="after", nth=2))
    task = describe(deferrable=False)
    as_airflow_kills(task, when=lambda: len(created(emulator)) == 2)

    with pytest.raises(TaskKilled):
        task.execute(Passes(task).context)

    # The second was created but not answered. The third was not created.
    assert (len(created(emulator)), states(emulator)) == (2, {CANCELLED})
    assert why_cancelled(tmp_path / "run") == ["killed", "killed", None]
    emulator.faults.clear()
    assert Passes(describe()).finish()["results"] == 12
    assert len(created(emulator)) == len(set(created(emulator))) == 5


def test_killed_without_cancel_on_kill_the_task_stops_and_its_jobs_keep_running(
    describe: Describe, tmp_path: Path, emulator: Emulator, as_airflow_kills: Any
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    task = describe(deferrable=False, options={"cancel_on_kill": False})
    as_airflow_kills(task, when=lambda: len(created(emulator)) == 3)

    with pytest.raises(TaskKilled):
        task.execute(Passes(task).context)

    assert CANCELLED not in states(emulator)
    assert why_cancelled(tmp_path / "run") == [None] * 3


@pytest.mark.parametrize("cancel", [True, False])
def test_an_execution_timeout_is_a_timeout(cancel: bool, describe: Describe, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang"))
    task = describe(options={"cancel_on_timeout": cancel})
    Passes(task).start()

    try:
        raise AirflowTaskTimeout
    except AirflowTaskTimeout:
        task.on_kill()  # as Airflow does it, when the pass is over

    assert states(emulator) == {CANCELLED if cancel else "BATCH_STATE_PENDING"}
    assert why_cancelled(tmp_path / "run") == ["timeout" if cancel else None] * 3


def test_after_a_timeout_that_cancels_a_cleared_task_resubmits_the_rest(
    describe: Describe, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do="hang", display_name="shard 1 attempt 0"))
    patience = {"timeout": timedelta(seconds=1.5), "cancel_on_timeout": True}
    with pytest.raises(Exception, match="These jobs were cancelled: batches/"):
        Passes(describe(options=patience)).finish()

    summary = Passes(describe(options=patience)).finish()

    assert summary["results"] == len(read(tmp_path / "run" / "results")) == 12
    assert len(created(emulator)) == len(set(created(emulator))) == 4


@pytest.mark.parametrize("cancel", [True, False])
@pytest.mark.parametrize("where", ["triggerer", "worker"])
def test_a_killed_sensor_cancels_only_its_own_job_and_only_if_configured(
    cancel: bool, where: str, describe: Describe, tmp_path: Path, task_state: TaskState, emulator: Emulator
) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang"))
    Passes(describe()).start()
    reference = {"destination": str(tmp_path / "run"), "shard": 1, "rows": 5, "requests": 5}
    job = Passes(GeminiBatchSubmitOperator(task_id="submit", shard=reference)).finish()
    sensor = GeminiBatchSensor(task_id="wait", job=job, options={"poll_interval": 0.1, "cancel_on_kill": cancel})

    if where == "triggerer":
        asyncio.run(Passes(sensor).start().trigger.on_kill())
    else:
        with sensor.one_pass(context()):
            pass
        sensor.on_kill()

    assert [entry["state"] == CANCELLED for entry in emulator.jobs() if entry["name"] == job["job"]] == [cancel]
    assert [entry["state"] for entry in emulator.jobs()].count(CANCELLED) == int(cancel)
    assert why_cancelled(tmp_path / "run") == [None, "killed" if cancel else None, None]
