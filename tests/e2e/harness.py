"""A stage for whole stories: real Airflow processes, the emulator as a process, and hands to kill any of them.

Stories wait for what they can see (a state over REST, an entry in the emulator's journal), each wait with a deadline.
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
from airflow_gemini_batch.demo.rest import ENDED, wait_for
from airflow_gemini_batch.emulator import EmulatorProcess

#: The examples that users read, and the stories' own.
DAGS = (Path(__file__).parents[2] / "dags", Path(__file__).parent / "dags")

#: The API key of the connection. It must be found nowhere but in the environment of Airflow's processes.
KEY = "AIzaCanaryOfTheStories-0123456789abcdefg"

#: Jobs run for an hour of the emulator's clock, which a story moves on when it has seen what it came for: no deferral is short
#: enough to meet the race of Airflow's scheduler (apache/airflow#66374), and no test depends on how fast the machine is.
JOB_SECONDS = 3600.0

#: A killed triggerer's tasks are taken over after this many seconds (default: 30).
_TRIGGERER_IS_DEAD_AFTER = "10"


@dataclass(frozen=True)
class Story:
    """One DAG run, seen from outside.

    :param folder: what the DAG's ``folder`` parameter says.
    """

    stage: Stage
    dag_id: str
    run_id: str
    folder: Path

    @property
    def state(self) -> str:
        return str(self.stage.airflow.rest.run(self.dag_id, self.run_id)["state"])

    @property
    def destination(self) -> Path:
        """Where the run's tables are."""
        [destination] = self.folder.glob("*/described")
        return destination

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.destination / "summary.json").read_text(encoding="utf-8")))

    def tasks(self, task_id: str | None = None, state: str | None = None) -> list[dict[str, Any]]:
        """Task instances, of one task and in one state if asked for; those of a mapped task in the order of their index."""
        instances = self.stage.airflow.rest.task_instances(self.dag_id, self.run_id)
        chosen = [each for each in instances if task_id in (None, each["task_id"]) and state in (None, each["state"])]
        return sorted(chosen, key=lambda each: (each["task_id"], each["map_index"]))

    def wait_for_tasks(self, task_id: str, state: str, count: int = 1, timeout: float = 120.0) -> list[dict[str, Any]]:
        """Until so many instances of a task are in a state. A run that ends before is told at once."""

        def look() -> list[dict[str, Any]] | None:
            there = self.tasks(task_id, state)
            if len(there) < count and self.state in ENDED:
                raise AssertionError(f"{self} is {self.state}, and {len(there)} of {task_id!r} were {state}, not {count}")
            return there if len(there) >= count else None

        return self.wait_until(look, f"{count} of {task_id!r} to be {state}", timeout)

    def wait_until_watched(self, task_id: str) -> None:
        """Until the triggerer has looked at the jobs of a deferred task: whoever ends the wait before that is heard by nobody."""
        [task] = self.wait_for_tasks(task_id, "deferred")
        where = (task_id, task["try_number"], task["map_index"])
        self.wait_until(
            lambda: "requests done" in self.stage.airflow.rest.log(self.dag_id, self.run_id, *where), "the triggerer to watch"
        )

    def wait_until_ended(self, timeout: float = 180.0) -> str:
        return self.wait_until(lambda: self.state if self.state in ENDED else None, "the run to end", timeout)

    def set_state(self, task_id: str, state: str) -> None:
        """What a user does in the UI to end a task."""
        path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}"
        self.stage.airflow.rest.call("PATCH", path, json={"new_state": state})

    def clear(self, task_id: str) -> None:
        """What a user does in the UI to have a task run again."""
        body = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": [task_id],
            "only_failed": False,
            "include_downstream": True,
        }
        self.stage.airflow.rest.call("POST", f"/dags/{self.dag_id}/clearTaskInstances", json=body)

    def kill_worker(self, task: dict[str, Any]) -> None:
        """SIGKILL for the process that runs a task instance."""
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(task["pid"]).kill()

    def wait_until(self, look: Callable[[], Any], what: str, timeout: float = 120.0) -> Any:
        """Until there is something to see. A process of Airflow that ends before is told at once."""

        def look_at_all() -> Any:
            self.stage.airflow.check_processes()
            return look()

        return wait_for(look_at_all, f"{what} ({self})", timeout)

    def __str__(self) -> str:
        return f"{self.dag_id} {self.run_id}"


class Stage:
    """
    with Stage(folder) as stage:
        story = stage.begin("some_dag")

    :param folder: for everything: Airflow's home, the emulator's state, the tables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.emulator = EmulatorProcess(folder / "emulator", pending_seconds=1.0, running_seconds=JOB_SECONDS)
        self.stories: list[Story] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as opening:
            opening.enter_context(self.emulator)
            connection = {"conn_type": "gemini", "password": KEY, "host": self.emulator.url}
            for folder in DAGS:
                shutil.copytree(folder, self.folder / "dags", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            settings = {
                "AIRFLOW_CONN_GEMINI_DEFAULT": json.dumps(connection),
                "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": _TRIGGERER_IS_DEAD_AFTER,
            }
            self.airflow = opening.enter_context(LocalAirflow(self.folder / "airflow", self.folder / "dags", settings))
            self.airflow.wait_until_healthy()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def begin(self, dag_id: str, **params: str) -> Story:
        """Start a run of a DAG whose ``folder`` parameter says where its tables go."""
        folder = self.folder / "tables" / f"{len(self.stories)}-{dag_id}"
        self.airflow.rest.wait_for_dag(dag_id)
        story = Story(self, dag_id, self.airflow.rest.trigger(dag_id, {"folder": str(folder), **params}), folder)
        self.stories.append(story)
        return story

    def restart(self, process: str) -> None:
        """SIGKILL for one of Airflow's processes and all that it has started, then start it again."""
        self.airflow.kill_process(process)
        self.airflow.start_process(process)

    def end_jobs(self) -> None:
        """Let the time pass that the jobs take."""
        self.emulator.advance(JOB_SECONDS + 60.0)
        assert self.emulator.wait_idle()

    def evidence(self) -> Iterator[tuple[str, str]]:
        """What to read when a story ended badly: a title and a text each."""
        for name in ("scheduler", "triggerer", "dag-processor", "api-server"):
            yield f"Airflow's {name}", self.airflow.log_tail(name, 40)
        for story in self.stories:
            for task in story.tasks():
                if task["state"] not in ("success", None, "removed", "skipped"):
                    where = (task["task_id"], task["try_number"], task["map_index"])
                    title = f"{story}: {task['task_id']}[{task['map_index']}], {task['state']}, try {task['try_number']}"
                    yield title, self.airflow.rest.log(story.dag_id, story.run_id, *where)
        yield "The emulator's journal", "\n".join(json.dumps(entry) for entry in self.emulator.journal())
        yield "Load", str(os.getloadavg())
