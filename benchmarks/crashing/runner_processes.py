"""Processes that make runs in parallel: most of the time of a crash is spent waiting for a lease or a listing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from crashing.calls import Waits
from crashing.child_process import ReportPipe, run_in_child
from crashing.runner import Order, Outcome, Runner
from crashing.scenarios import BY_NAME, Scenario
from crashing.services import ExternalService, OwnEmulator, Service
from crashing.source_table import write_source


@dataclass(frozen=True)
class Settings:
    """Settings of all runner processes.

    :param home: the folder of all runs.
    :param url: of an external service. None: each process starts its own emulator.
    :param key, model: for the external service.
    :param rows: of the larger tables. The others have as many as their scenario says.
    """

    home: Path
    waits: Waits
    url: str | None = None
    key: str = ""
    model: str = ""
    rows: int = 60_000
    sabotage: str = ""


class RunnerProcess:
    """A process that makes runs, one at a time. It is forked, so it must be created before any thread or client."""

    def __init__(self, number: int, settings: Settings) -> None:
        self.connection, its_end = multiprocessing.Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self.connection.close()
                _serve(its_end, settings, settings.home / f"runner-{number}")
                code = 0
            finally:
                os._exit(code)
        its_end.close()
        self.order: Order | None = None

    def submit(self, order: Order) -> None:
        self.order = order
        self.connection.send(order)

    def receive(self) -> Outcome:
        """The outcome of the order that was submitted last. Raises RuntimeError when the harness itself failed."""
        self.order = None
        outcome = self.connection.recv()
        if isinstance(outcome, str):
            raise RuntimeError(f"A runner process of the harness failed:\n{outcome}")
        return outcome  # type: ignore[no-any-return]

    def close(self) -> None:
        """Kill the process, its service and its children at once: they share a process group."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _serve(connection: Connection, settings: Settings, home: Path) -> None:
    os.setpgrp()
    home.mkdir(parents=True)
    service: Service | None = None
    try:
        service = _service(settings, home)
        runner = Runner(service, home, settings.waits, settings.sabotage)
        while True:
            try:
                order = connection.recv()
            except EOFError:
                return
            scenario = BY_NAME[order.scenario]
            rows = scenario.rows if scenario.rows < 10_000 else settings.rows
            try:
                connection.send(runner.run(order, scenario, *_sources(home, rows, scenario)))
            except Exception:
                connection.send(traceback.format_exc())
    finally:
        if service is not None:
            service.close()


def _service(settings: Settings, home: Path) -> Service:
    if settings.url is None:
        return OwnEmulator(home / "service")
    return ExternalService(settings.url, settings.key, settings.model, home)


def _sources(home: Path, rows: int, scenario: Scenario) -> list[str]:
    """The source of a run, and that of the day before where the scenario reuses its answers."""
    return [_source(home, rows, scenario.repeats, day) for day in ((2, 1) if scenario.reuses else (1,))]


def _source(home: Path, rows: int, repeats: bool, day: int) -> str:
    path = home / f"rows-{rows}{'-repeats' if repeats else ''}-day-{day}.parquet"
    if not path.exists():

        def function(pipe: ReportPipe) -> tuple[str, None]:
            write_source(str(path), rows, repeats=repeats, day=day)
            return "finished", None

        run_in_child(function, log=home / "source.log")
    return str(path)
