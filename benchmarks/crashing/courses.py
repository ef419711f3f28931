"""What is called next: by a user who calls the engine again, or by Airflow, which retries a task from its beginning, runs a
trigger again when a triggerer dies, and hands each task's value to the next."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from crashing.scenarios import Way
from crashing.work import Work

#: Sent ``(ending, value)`` of each work, ``ending`` None when it was killed; returns when all is done.
Course = Generator[Work, tuple[str | None, Any], Any]


def course(way: Way) -> Course:
    return {"engine": _engine, "operator": _operator, "steps": _steps}[way]()


def _engine() -> Course:
    yield from _until_finished(Work("trip"))


def _operator() -> Course:
    yield from _task("batch")


def _steps() -> Course:
    shards = yield from _task("build")
    for shard in shards:
        job = yield from _task("submit", shard=shard)
        done = yield from _task("wait", job=job)
        yield from _task("download", job=done)
    yield from _task("finish")


def _task(operator: str, **arguments: Any) -> Course:
    """A task with any number of retries."""
    event: dict[str, Any] | None = None
    while True:
        ending, value = yield Work("leg", operator, arguments, event)
        event = None
        if ending == "finished":
            return value
        if ending == "deferred":
            event = yield from _until_finished(Work("trigger", operator, value))


def _until_finished(work: Work) -> Course:
    while True:
        ending, value = yield work
        if ending == "finished":
            return value
