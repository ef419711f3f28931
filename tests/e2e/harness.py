"""The stack for end-to-end tests: real Airflow processes and the emulator in a process, any of which can be killed.

A scenario is one DAG run. Tests wait for what can be observed (a state over REST, an entry in the emulator's journal), and each
wait has a timeout.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from airflow_gemini_batch.demo.local_airflow import LocalAirflow
from airflow_gemini_batch.demo.rest import FINAL_STATES, wait_for
from airflow_gemini_batch.emulator import EmulatorProcess

#: The example DAGs, and those of the tests.
DAGS = (Path(__file__).parents[2] / "dags", Path(__file__).parent / "dags")

#: The API key of the connection. It must not appear anywhere but in the environment of Airflow's processes.
KEY = "AIzaCanaryOfTheEndToEndTests-0123456789"

#: Jobs run for an hour of the emulator's clock. A test advances the clock when it has seen what it waited for. So no deferral is
#: short enough for the race in Airflow's scheduler (apache/airflow#66374), and no test depends on the speed of the machine.
JOB_SECONDS = 3600.0

#: Seconds after which a killed triggerer's tasks are taken over. Airflow's default is 30.
_TRIGGERER_HEALTH_CHECK_THRESHOLD = "10"


@dataclass(frozen=True)
class Scenario:
    """One DAG run, observed from outside.

    :param folder: the value of the DAG's ``folder`` parameter.
    """

    stack: Stack
    dag_id: str
    run_id: str
    folder: Path

    @property
    def state(self) -> str:
        return str(self.stack.airflow.rest.run(self.dag_id, self.run_id)["state"])

    @property
    def destination(self) -> Path:
        """The folder of the run's tables."""
        [destination] = self.folder.glob("*/described")
        return destination

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.destination / "summary.json").read_text(encoding="utf-8")))

    def tasks(self, task_id: str | None = None, state: str | None = None) -> list[dict[str, Any]]:
        """Task instances, sorted by task and map index; optionally those of one task, or in one state."""
        instances = self.stack.airflow.rest.task_instances(self.dag_id, self.run_id)
        chosen = [each for each in instances if task_id in (None, each["task_id"]) and state in (None, each["state"])]
        return sorted(chosen, key=lambda each: (each["task_id"], each["map_index"]))

    def wait_for_tasks(self, task_id: str, state: str, count: int = 1, timeout: float = 120.0) -> list[dict[str, Any]]:
        """Wait until ``count`` instances of a task are in a state, and return them. Fails at once if the run ends before."""

        def check() -> list[dict[str, Any]] | None:
            found = self.tasks(task_id, state)
            if len(found) < count and self.state in FINAL_STATES:
                raise AssertionError(f"{self} is {self.state}; expected {count} of {task_id!r} to be {state}, found {len(found)}")
            return found if len(found) >= count else None

        return self.wait_until(check, f"{count} of {task_id!r} to be {state}", timeout)

    def wait_until_watched(self, task_id: str) -> None:
        """Wait until the triggerer has fetched the jobs of a deferred task. Before that, its trigger does not notice a cancel."""
        self.wait_for_tasks(task_id, "deferred")
        ledger = self.destination / "_run" / "ledger"

        def all_seen() -> bool:
            hint = ledger / "progress.json"  # what the triggerer has seen of the jobs
            seen = json.loads(hint.read_text("utf-8"))["jobs"] if hint.exists() else ()
            return len(seen) == len(list(ledger.glob("*.job.json")))

        self.wait_until(all_seen, "the triggerer to fetch the jobs")

    def wait_until_ended(self, timeout: float = 180.0) -> str:
        """Wait until the run has ended, and return its state."""
        return self.wait_until(lambda: self.state if self.state in FINAL_STATES else None, "the run to end", timeout)

    def set_state(self, task_id: str, state: str) -> None:
        """Set the state of a task, as a user does in the UI to end it."""
        path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}"
        self.stack.airflow.rest.call("PATCH", path, json={"new_state": state})

    def clear(self, task_id: str) -> None:
        """Clear a task, as a user does in the UI to run it again."""
        body = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": [task_id],
            "only_failed": False,
            "include_downstream": True,
        }
        self.stack.airflow.rest.call("POST", f"/dags/{self.dag_id}/clearTaskInstances", json=body)

    def answer(self, task_id: str, option: str, map_index: int = -1, **params: str) -> None:
        """Answer what a task asks a person, as it is done in the UI.

        :param params: what the person fills in.
        """
        asking = ("awaiting_input", "deferred")  # the second before Airflow 3.3
        self.wait_until(lambda: self.tasks(task_id)[0]["state"] in asking, f"{task_id!r} to ask", 180.0)
        # Before the scheduler has heard that the worker is done, an answer fails the task: it finds it queued again.
        key = f"TaskInstanceKey(dag_id={self.dag_id!r}, task_id={task_id!r}, run_id={self.run_id!r}"
        heard = f"Received executor event with state success for task instance {key}"
        scheduler = self.stack.airflow.log_file("scheduler")
        self.wait_until(lambda: heard in scheduler.read_text("utf-8", "replace"), f"the worker of {task_id!r} to end")
        answer = {"chosen_options": [option], "params_input": params}
        self.call("PATCH", f"/taskInstances/{task_id}/{map_index}/hitlDetails", json=answer)

    def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Call Airflow's REST API about this run.

        :param path: below the run; empty for the run itself.
        """
        return self.stack.airflow.rest.call(method, f"/dags/{self.dag_id}/dagRuns/{self.run_id}{path}", **arguments)

    def kill_worker(self, task: dict[str, Any]) -> None:
        """Send SIGKILL to the process that runs a task instance."""
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(task["pid"]).kill()

    def wait_until(self, check: Callable[[], Any], what: str, timeout: float = 120.0) -> Any:
        """Wait until ``check`` returns something true, and return that. Fails at once if a process of Airflow ends."""

        def check_all() -> Any:
            self.stack.airflow.check_processes()
            return check()

        return wait_for(check_all, f"{what} ({self})", timeout)

    def __str__(self) -> str:
        return f"{self.dag_id} {self.run_id}"


class Stack:
    """
    with Stack(folder) as stack:
        scenario = stack.start("some_dag")

    :param folder: holds Airflow's home, the emulator's state and the tables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.emulator = EmulatorProcess(folder / "emulator", pending_seconds=1.0, running_seconds=JOB_SECONDS)
        self.scenarios: list[Scenario] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Stack:
        with contextlib.ExitStack() as opening:
            opening.enter_context(self.emulator)
            connection = {"conn_type": "gemini", "password": KEY, "host": self.emulator.url}
            for folder in DAGS:
                shutil.copytree(folder, self.folder / "dags", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            settings = {
                "AIRFLOW_CONN_GEMINI_DEFAULT": json.dumps(connection),
                "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": _TRIGGERER_HEALTH_CHECK_THRESHOLD,
                "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            }
            self.airflow = opening.enter_context(LocalAirflow(self.folder / "airflow", self.folder / "dags", settings))
            self.airflow.wait_until_healthy()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def start(self, dag_id: str, **params: str) -> Scenario:
        """Start a run of a DAG. Its ``folder`` parameter is a new folder for the tables."""
        folder = self.folder / "tables" / f"{len(self.scenarios)}-{dag_id}"
        self.airflow.rest.wait_for_dag(dag_id)
        scenario = Scenario(self, dag_id, self.airflow.rest.trigger(dag_id, {"folder": str(folder), **params}), folder)
        self.scenarios.append(scenario)
        return scenario

    def restart(self, process: str, *, terminate: bool = False) -> None:
        """Kill one of Airflow's processes and all that it has started, or send it SIGTERM, then start it again."""
        if terminate:
            self.airflow.terminate_process(process)
        else:
            self.airflow.kill_process(process)
        self.airflow.start_process(process)

    def end_jobs(self) -> None:
        """Advance the emulator's clock until all jobs have ended."""
        self.emulator.advance(JOB_SECONDS + 60.0)
        assert self.emulator.wait_idle()

    def logs(self) -> Iterator[tuple[str, str]]:
        """What to read after a failure: pairs of title and text."""
        for name in ("scheduler", "triggerer", "dag-processor", "api-server"):
            yield f"Airflow's {name}", self.airflow.log_tail(name, 40)
        for scenario in self.scenarios:
            for task in scenario.tasks():
                if task["state"] not in ("success", None, "removed", "skipped"):
                    where = (task["task_id"], task["try_number"], task["map_index"])
                    title = f"{scenario}: {task['task_id']}[{task['map_index']}], {task['state']}, try {task['try_number']}"
                    yield title, self.airflow.rest.log(scenario.dag_id, scenario.run_id, *where)
        yield "The emulator's journal", "\n".join(json.dumps(entry) for entry in self.emulator.journal())
        yield "Load average", str(os.getloadavg())
