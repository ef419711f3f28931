"""Fork child processes, read what they report, and kill them.

A child is forked from a process that has imported everything and opened nothing (no client, connection or table). It reports the
boundaries that it reaches, and how it ended, over a pipe. What is in the pipe can still be read after the child was killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Seconds. A child that runs longer hangs, which is an error.
_TIMEOUT = 120.0


class ReportPipe:
    """The child's end of the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, **message: Any) -> None:
        content = json.dumps(message).encode() + b"\n"
        while content:
            content = content[os.write(self._descriptor, content) :]


@dataclass
class ChildProcess:
    """The parent's view of a child.

    :param started_at: monotonic seconds.
    :param reached: the boundaries that it reached, in order, each once.
    :param killed_at: the boundary at which it killed itself.
    :param ending: ``finished``, ``deferred``, ``failed`` or ``broken``, with ``value``; None if it was killed.
    :param status: as ``os.waitpid`` returns it; None while it runs.
    :param hung: whether it was killed because it ran for too long.
    """

    pid: int
    pipe: int
    started_at: float = field(default_factory=time.monotonic)
    reached: list[str] = field(default_factory=list)
    killed_at: str | None = None
    ending: str | None = None
    value: Any = None
    status: int | None = None
    hung: bool = False
    _unread: bytes = b""

    @property
    def has_ended(self) -> bool:
        return self.status is not None

    @property
    def was_killed(self) -> bool:
        return self.status is not None and os.WIFSIGNALED(self.status) and self.ending is None

    def signal(self, number: signal.Signals) -> None:
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _read(self) -> None:
        content = os.read(self.pipe, 1 << 16)
        if not content:
            os.close(self.pipe)
            _, self.status = os.waitpid(self.pid, 0)
            return
        *lines, self._unread = (self._unread + content).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "reached" in message:
                self.reached.append(message["reached"])
            elif "killing_at" in message:
                self.killed_at = message["killing_at"]
            else:
                self.ending, self.value = message["ending"], message["value"]


def start_child(function: Callable[[ReportPipe], tuple[str, Any]], *, log: Path) -> ChildProcess:
    """Call ``function`` in a child process. It returns its ending (see ``ChildProcess``) and a JSON value.

    :param log: the child's output is appended to this file.
    """
    pipe, descriptor = os.pipe()
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return ChildProcess(pid, pipe)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(pipe)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {os.getpid()} %(name)s %(message)s", force=True)
        report = ReportPipe(descriptor)
        try:
            ending, value = function(report)
        except Exception as error:
            traceback.print_exc()
            # An AssertionError is raised by the harness, or by the product for what must never happen.
            ending = "broken" if isinstance(error, AssertionError) else "failed"
            value = f"{type(error).__name__}: {error}"
        report.send(ending=ending, value=value)
    finally:
        os._exit(0)  # without the cleanup of anything that belongs to the parent


def wait_for_one(children: Sequence[ChildProcess], *, until: float | None = None) -> None:
    """Read from the children until one more has ended.

    :param until: return at this time (monotonic seconds) at the latest.
    """
    running = [child for child in children if not child.has_ended]
    while running and all(not child.has_ended for child in running):
        now = time.monotonic()
        for child in running:
            if now - child.started_at > _TIMEOUT:
                child.hung = True
                child.signal(signal.SIGKILL)
        left = 1.0 if until is None else until - now
        if left <= 0:
            return
        ready, _, _ = select.select([child.pipe for child in running], [], [], min(left, 1.0))
        for child in running:
            if child.pipe in ready:
                child._read()


def wait_for_all(children: Sequence[ChildProcess]) -> None:
    while any(not child.has_ended for child in children):
        wait_for_one(children)


def run_in_child(function: Callable[[ReportPipe], tuple[str, Any]], *, log: Path) -> Any:
    """Call ``function`` in a child process that is not killed, and return its value. Raises RuntimeError if it did not finish."""
    child = start_child(function, log=log)
    wait_for_all([child])
    if child.ending != "finished":
        raise RuntimeError(f"{function} did not finish ({child.ending or 'killed'}): {child.value}. See {log}.")
    return child.value
