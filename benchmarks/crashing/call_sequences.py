"""Which call comes next.

A user calls the engine again. Airflow retries a task from its beginning, runs a trigger again when its triggerer was killed, and
passes each task's value to the next task.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from crashing.calls import Call
from crashing.scenarios import Form

#: Yields calls, and receives ``(ending, value)`` of each; ``ending`` is None for a killed call. Returns when the run is finished.
CallSequence = Generator[Call, tuple[str | None, Any], Any]


def call_sequence(form: Form) -> CallSequence:
    return {"engine": _engine, "operator": _operator, "steps": _steps}[form]()


def _engine() -> CallSequence:
    yield from _repeat_until_finished(Call("run_batch"))


def _operator() -> CallSequence:
    yield from _task("batch")


def _steps() -> CallSequence:
    shards = yield from _task("build")
    for shard in shards:
        job = yield from _task("submit", shard=shard)
        done = yield from _task("wait", job=job)
        yield from _task("download", job=done)
    yield from _task("finish")


def _task(operator: str, **arguments: Any) -> CallSequence:
    """A task with any number of retries."""
    event: dict[str, Any] | None = None
    while True:
        ending, value = yield Call("task", operator, arguments, event)
        event = None
        if ending == "finished":
            return value
        if ending == "deferred":
            event = yield from _repeat_until_finished(Call("trigger", operator, value))


def _repeat_until_finished(call: Call) -> CallSequence:
    while True:
        ending, value = yield call
        if ending == "finished":
            return value
