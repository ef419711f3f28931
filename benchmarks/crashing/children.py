"""Fork, listen, kill.

A child is forked from a process that has imported everything and made nothing: no client, no connection, no table. It says what
it meets and how it ended over a pipe, whose content survives its death.
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

#: Seconds. A child that lives longer hangs, which is a finding.
_LONGEST_LIFE = 120.0


class Line:
    """The child's end of the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def say(self, **message: Any) -> None:
        content = json.dumps(message).encode() + b"\n"
        while content:
            content = content[os.write(self._descriptor, content) :]


@dataclass
class Child:
    """A process of ours.

    :param met: the boundaries that it met, in order, each once.
    :param died_at: the boundary at which it killed itself.
    :param ending: ``finished``, ``deferred``, ``failed`` or ``broken``, with ``value``; None when it was killed.
    """

    pid: int
    pipe: int
    born: float = field(default_factory=time.monotonic)
    met: list[str] = field(default_factory=list)
    died_at: str | None = None
    ending: str | None = None
    value: Any = None
    status: int | None = None
    hung: bool = False
    _unread: bytes = b""

    @property
    def is_over(self) -> bool:
        return self.status is not None

    @property
    def was_killed(self) -> bool:
        return self.status is not None and os.WIFSIGNALED(self.status) and self.ending is None

    def signal(self, number: signal.Signals) -> None:
        if not self.is_over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _hear(self) -> None:
        content = os.read(self.pipe, 1 << 16)
        if not content:
            os.close(self.pipe)
            _, self.status = os.waitpid(self.pid, 0)
            return
        *lines, self._unread = (self._unread + content).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "met" in message:
                self.met.append(message["met"])
            elif "dies_at" in message:
                self.died_at = message["dies_at"]
            else:
                self.ending, self.value = message["ending"], message["value"]


def fork(work: Callable[[Line], tuple[str, Any]], *, log: Path) -> Child:
    """Do ``work`` in a child; it returns how it ended, and a JSON value."""
    pipe, descriptor = os.pipe()
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return Child(pid, pipe)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(pipe)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {os.getpid()} %(name)s %(message)s", force=True)
        line = Line(descriptor)
        try:
            ending, value = work(line)
        except Exception as error:
            traceback.print_exc()
            # An assertion is the harness's own, or one that the product must not break.
            ending = "broken" if isinstance(error, AssertionError) else "failed"
            value = f"{type(error).__name__}: {error}"
        line.say(ending=ending, value=value)
    finally:
        os._exit(0)  # nothing of the parent's is torn down here


def attend(children: Sequence[Child], *, until: float | None = None) -> None:
    """Listen until one more of the children is over, or until this moment (monotonic)."""
    living = [child for child in children if not child.is_over]
    while living and all(not child.is_over for child in living):
        now = time.monotonic()
        for child in living:
            if now - child.born > _LONGEST_LIFE:
                child.hung = True
                child.signal(signal.SIGKILL)
        left = 1.0 if until is None else until - now
        if left <= 0:
            return
        ready, _, _ = select.select([child.pipe for child in living], [], [], min(left, 1.0))
        for child in living:
            if child.pipe in ready:
                child._hear()


def attend_all(children: Sequence[Child]) -> None:
    while any(not child.is_over for child in children):
        attend(children)


def do(work: Callable[[Line], tuple[str, Any]], *, log: Path) -> Any:
    """Do ``work`` in a child that nobody kills; its value."""
    child = fork(work, log=log)
    attend_all([child])
    if child.ending != "finished":
        raise RuntimeError(f"{work} {child.ending or 'died'}: {child.value}")
    return child.value
