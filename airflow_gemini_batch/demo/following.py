"""Following a DAG run: what Airflow says of its tasks and the emulator of its jobs, put on the screen until the run ends."""

from __future__ import annotations

import time
from typing import Any

from airflow_gemini_batch.demo.local_airflow import LocalAirflow
from airflow_gemini_batch.demo.rest import ENDED
from airflow_gemini_batch.demo.screen import Screen
from airflow_gemini_batch.emulator import Emulator

_LOOK_EVERY = 1.0

#: State of a task instance -> state of its step, and how a person would say it. Others are told by Airflow's own name.
_TASK_STATES = {
    None: ("waiting", "waits for its turn"),
    "scheduled": ("waiting", "waits for a worker"),
    "queued": ("waiting", "waits for a worker"),
    "running": ("working", "at work in a worker"),
    "deferred": ("working", "deferred: waits in the triggerer and holds no worker"),
    "up_for_retry": ("working", "will be tried again"),
    "success": ("done", "success"),
    "failed": ("failed", "failed"),
    "upstream_failed": ("failed", "not begun: a task before it failed"),
}


def follow(airflow: LocalAirflow, emulator: Emulator, screen: Screen, dag_id: str, run_id: str, timeout: float) -> str:
    """Returns the state in which the run ended. Raises TimeoutError, and LocalAirflowError when a process has ended."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        # The run's state is read first: when it has ended, what is read after it is final.
        state = airflow.rest.run(dag_id, run_id)["state"]
        for task in sorted(airflow.rest.task_instances(dag_id, run_id), key=lambda task: task["start_date"] or "~"):
            screen.show(f"Task {task['task_id']}", *task_step(task["state"], task["try_number"]))
        for number, job in enumerate(emulator.jobs(), 1):
            _show_job(screen, number, job)
        if state in ENDED:
            return str(state)
        airflow.check_processes()
        time.sleep(_LOOK_EVERY)
    raise TimeoutError(f"The DAG run {run_id} did not end within {timeout:.0f} s")


def task_step(state: str | None, try_number: int) -> tuple[str, str]:
    """The step's state and text for a task instance."""
    step, text = _TASK_STATES.get(state, ("working", str(state)))
    return step, f"{text} (try {try_number})" if try_number > 1 else text


def _show_job(screen: Screen, number: int, job: dict[str, Any]) -> None:
    total, answered, failed = (
        int(job["stats"].get(name, 0)) for name in ("requestCount", "successfulRequestCount", "failedRequestCount")
    )
    step = "working" if not job["done"] else "done" if job["state"].endswith("_SUCCEEDED") else "failed"
    text = f"{job['state'].removeprefix('BATCH_STATE_'):<9}  {job['name']}"
    screen.show(f"Job {number}", step, text, done=answered + failed, total=total)
