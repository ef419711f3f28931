"""The service that a lane asks: an emulator of its own, or one that runs elsewhere and of which only the wire is known."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Protocol

from airflow_gemini_batch.emulator import EmulatorProcess
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.run.tokens import display_name, token_of
from crashing.children import Line, do
from crashing.scenarios import Scenario
from crashing.work import Site

MODEL = "gemini-3.6-flash"
#: Keys are projects: each journey has jobs, files and a listing of its own.
_PROJECTS = 2_000


class Service(Protocol):
    url: str
    key: str
    model: str

    def begin(self, scenario: Scenario, dice: random.Random) -> None:
        """Prepare for a journey."""

    def created(self, site: Site) -> list[str]:
        """The display names of the jobs of this journey, each as often as it was created."""

    def faults_fired(self) -> int: ...

    def crash(self) -> None: ...

    def ensure_up(self) -> None: ...

    def close(self) -> None: ...


class OwnEmulator:
    """An emulator that may be told to misbehave, killed, and asked what it was made to do."""

    model = MODEL

    def __init__(self, state: Path) -> None:
        keys = tuple(f"key-{number}=project-{number}" for number in range(_PROJECTS))
        self._process = EmulatorProcess(state, keys=keys, pending_seconds=0.1, running_seconds=0.15)
        self._process.start()
        self._is_up = True
        self._project = -1

    @property
    def url(self) -> str:
        return self._process.url

    @property
    def key(self) -> str:
        return f"key-{self._project}"

    def begin(self, scenario: Scenario, dice: random.Random) -> None:
        self.ensure_up()
        self._project += 1
        self._process.faults.clear()
        self._process.faults.add(*scenario.faults(dice))

    def created(self, site: Site) -> list[str]:
        entries = self._process.journal("create")
        return [entry["display_name"] for entry in entries if entry["project"] == f"project-{self._project}"]

    def faults_fired(self) -> int:
        """Of the network's and the jobs' kind; rows are not counted."""
        rules = self._process.faults.list()
        return sum(rule["fired"] for rule in rules if rule["fault"]["on"] in ("http", "job"))

    def crash(self) -> None:
        self._process.kill()
        self._is_up = False

    def ensure_up(self) -> None:
        if not self._is_up:
            self._process.start()
            self._is_up = True

    def close(self) -> None:
        if self._is_up:
            self._process.kill()


class Elsewhere:
    """A service that somebody else runs. It is asked over the wire alone, and nothing is done to it."""

    def __init__(self, url: str, key: str, model: str, home: Path) -> None:
        self.url, self.key, self.model = url, key, model
        self._home = home

    def begin(self, scenario: Scenario, dice: random.Random) -> None: ...

    def created(self, site: Site) -> list[str]:
        """By the listing, in which every job of the run must have appeared by now."""

        def work(line: Line) -> tuple[str, Any]:
            run = Run(locate(site.destination))
            manifest = run.manifest()
            shards = Snapshot(run, manifest).shards() if manifest is not None else []
            ours = {display_name(token_of(manifest, shard), shard) for shard in shards if manifest is not None}
            with GeminiClient(Endpoint(api_key=self.key, base_url=self.url)) as client:
                return "finished", [job.display_name for job in client.list_jobs() if job.display_name in ours]

        return list(do(work, log=self._home / "listing.log"))

    def faults_fired(self) -> int:
        return 0

    def crash(self) -> None:
        raise AssertionError("a service that somebody else runs is not killed")

    def ensure_up(self) -> None: ...

    def close(self) -> None: ...
