"""Processes that make journeys side by side: most of a crash's time is spent waiting for leases and listings."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from crashing.children import Line, do
from crashing.journeys import Journey, Order, Traveller
from crashing.scenarios import BY_NAME
from crashing.services import Elsewhere, OwnEmulator, Service
from crashing.work import Waits, make_source


@dataclass(frozen=True)
class Settings:
    """For every lane.

    :param url: of a service that runs elsewhere; None: each lane has an emulator of its own.
    :param rows: of the larger tables; the others are as small as their scenario says.
    """

    home: Path
    waits: Waits
    url: str | None = None
    key: str = ""
    model: str = ""
    rows: int = 60_000
    sabotaged: bool = False


class Lane:
    """A process that takes orders, one at a time. It is forked, and so must be made before any thread or client."""

    def __init__(self, number: int, settings: Settings) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self.connection.close()
                _serve(theirs, settings, settings.home / f"lane-{number}")
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        self.order: Order | None = None

    def give(self, order: Order) -> None:
        self.order = order
        self.connection.send(order)

    def take(self) -> Journey:
        self.order = None
        outcome = self.connection.recv()
        if isinstance(outcome, str):
            raise RuntimeError(f"a lane of the harness broke:\n{outcome}")
        return outcome  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the lane at once, with its service and its children: they are a process group of their own."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _serve(connection: Connection, settings: Settings, home: Path) -> None:
    os.setpgrp()
    home.mkdir(parents=True)
    service: Service | None = None
    try:
        service = _service(settings, home)
        traveller = Traveller(service, home, settings.waits, settings.sabotaged)
        while True:
            try:
                order = connection.recv()
            except EOFError:
                return
            scenario = BY_NAME[order.scenario]
            rows = scenario.rows if scenario.rows < 10_000 else settings.rows
            try:
                connection.send(traveller.make(order, scenario, _source(home, rows)))
            except Exception:
                connection.send(traceback.format_exc())
    finally:
        if service is not None:
            service.close()


def _service(settings: Settings, home: Path) -> Service:
    if settings.url is None:
        return OwnEmulator(home / "service")
    return Elsewhere(settings.url, settings.key, settings.model, home)


def _source(home: Path, rows: int) -> str:
    path = home / f"rows-{rows}.parquet"
    if not path.exists():
        do(_making(path, rows), log=home / "source.log")
    return str(path)


def _making(path: Path, rows: int) -> Callable[[Line], tuple[str, None]]:
    def work(line: Line) -> tuple[str, None]:
        make_source(str(path), rows)
        return "finished", None

    return work
