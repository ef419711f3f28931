"""Follow a DAG run: display the tasks as Airflow reports them and the jobs as the emulator reports them, until the run ends."""

from __future__ import annotations

import time
from typing import Any

from airflow_gemini_batch.demo.local_airflow import LocalAirflow
from airflow_gemini_batch.demo.progress import ProgressDisplay
from airflow_gemini_batch.demo.rest import FINAL_STATES
from airflow_gemini_batch.emulator import Emulator

_REFRESH_SECONDS = 1.0

#: State of a task instance -> state of its step, and the text to display. Any other state is displayed by Airflow's own name.
_TASK_STATES = {
    None: ("waiting", "waiting for earlier tasks"),
    "scheduled": ("waiting", "waiting for a worker"),
    "queued": ("waiting", "waiting for a worker"),
    "running": ("working", "running in a worker"),
    "deferred": ("working", "deferred: waits in the triggerer and uses no worker"),
    "up_for_retry": ("working", "waiting for its next try"),
    "success": ("done", "success"),
    "failed": ("failed", "failed"),
    "upstream_failed": ("failed", "not started: an earlier task failed"),
}


def follow(airflow: LocalAirflow, emulator: Emulator, display: ProgressDisplay, dag_id: str, run_id: str, timeout: float) -> str:
    """Return the final state of the run, ``success`` or ``failed``.

    :param timeout: seconds. Raises TimeoutError after it, and LocalAirflowError when a process of Airflow has ended.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        # The run's state is read first. If it is final, the tasks and jobs read after it are final too.
        state = airflow.rest.run(dag_id, run_id)["state"]
        for task in sorted(airflow.rest.task_instances(dag_id, run_id), key=lambda task: task["start_date"] or "~"):
            display.update(f"Task {task['task_id']}", *task_step(task["state"], task["try_number"]))
        for number, job in enumerate(emulator.jobs(), 1):
            _update_job(display, number, job)
        if state in FINAL_STATES:
            return str(state)
        airflow.check_processes()
        time.sleep(_REFRESH_SECONDS)
    raise TimeoutError(f"The DAG run {run_id} did not end within {timeout:.0f} s")


def task_step(state: str | None, try_number: int) -> tuple[str, str]:
    """The state and the text of the step that displays a task instance."""
    step, text = _TASK_STATES.get(state, ("working", str(state)))
    return step, f"{text} (try {try_number})" if try_number > 1 else text


def _update_job(display: ProgressDisplay, number: int, job: dict[str, Any]) -> None:
    total, answered, failed = (
        int(job["stats"].get(name, 0)) for name in ("requestCount", "successfulRequestCount", "failedRequestCount")
    )
    step = "working" if not job["done"] else "done" if job["state"].endswith("_SUCCEEDED") else "failed"
    text = f"{job['state'].removeprefix('BATCH_STATE_'):<9}  {job['name']}"
    display.update(f"Job {number}", step, text, done=answered + failed, total=total)
