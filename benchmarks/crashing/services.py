"""The service that a runner process uses: its own emulator, or an external service that is accessed only through the API."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Protocol

from airflow_gemini_batch.emulator import EmulatorProcess
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tokens import token_of, token_of_display_name
from crashing.audit import CreatedJob
from crashing.calls import RunTarget
from crashing.child_process import ReportPipe, run_in_child
from crashing.scenarios import Scenario

MODEL = "gemini-3.6-flash"
#: Each run has its own API key, which is a project of the emulator with its own jobs, files and listing.
_PROJECTS = 2_000


class Service(Protocol):
    model: str

    @property
    def url(self) -> str: ...

    @property
    def key(self) -> str: ...

    def prepare(self, scenario: Scenario, dice: random.Random) -> None:
        """Prepare for a run."""

    def created(self, target: RunTarget) -> list[CreatedJob]:
        """Each job that was created for this run; one whose display name was used twice is there twice."""

    def faults_fired(self) -> int: ...

    def crash(self) -> None: ...

    def ensure_running(self) -> None: ...

    def close(self) -> None: ...


class OwnEmulator:
    """An emulator that can be given faults and killed, and whose journal lists the jobs that were created."""

    model = MODEL

    def __init__(self, state: Path) -> None:
        keys = tuple(f"key-{number}=project-{number}" for number in range(_PROJECTS))
        self._process = EmulatorProcess(state, keys=keys, pending_seconds=0.1, running_seconds=0.15)
        self._process.start()
        self._is_running = True
        self._project = -1

    @property
    def url(self) -> str:
        return self._process.url

    @property
    def key(self) -> str:
        return f"key-{self._project}"

    def prepare(self, scenario: Scenario, dice: random.Random) -> None:
        self.ensure_running()
        self._project += 1
        self._process.faults.clear()
        self._process.faults.add(*scenario.faults(dice))

    def created(self, target: RunTarget) -> list[CreatedJob]:
        entries = [entry for entry in self._process.journal("create") if entry["project"] == f"project-{self._project}"]
        return [CreatedJob(entry["display_name"], entry["requests"], entry["job"]) for entry in entries]

    def faults_fired(self) -> int:
        """HTTP and job faults. Faults of rows are not counted."""
        rules = self._process.faults.list()
        return sum(rule["fired"] for rule in rules if rule["fault"]["on"] in ("http", "job"))

    def crash(self) -> None:
        self._process.kill()
        self._is_running = False

    def ensure_running(self) -> None:
        if not self._is_running:
            self._process.start()
            self._is_running = True

    def close(self) -> None:
        if self._is_running:
            self._process.kill()


class ExternalService:
    """A service that the harness did not start. It is accessed only through the API, is never killed, and has no faults."""

    def __init__(self, url: str, key: str, model: str, home: Path) -> None:
        self.url, self.key, self.model = url, key, model
        self._home = home

    def prepare(self, scenario: Scenario, dice: random.Random) -> None: ...

    def created(self, target: RunTarget) -> list[CreatedJob]:
        """The jobs in the listing. Every job of the run must be visible by now."""

        def function(pipe: ReportPipe) -> tuple[str, Any]:
            run = Run(locate(target.destination))
            manifest = run.manifest()
            shards = Snapshot(run, manifest).shards() if manifest is not None else []
            expected = {token_of(manifest, shard) for shard in shards if manifest is not None}
            with GeminiClient(Endpoint(api_key=self.key, base_url=self.url)) as client:
                jobs = [job for job in client.list_jobs() if token_of_display_name(job.display_name) in expected]
                return "finished", [(job.display_name, job.stats.total or None, job.name) for job in jobs]

        return [CreatedJob(*job) for job in run_in_child(function, log=self._home / "listing.log")]

    def faults_fired(self) -> int:
        return 0

    def crash(self) -> None:
        raise AssertionError("An external service is not killed.")

    def ensure_running(self) -> None: ...

    def close(self) -> None: ...
