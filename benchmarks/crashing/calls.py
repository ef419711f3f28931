"""What a child process does: it calls ``run_batch``, runs a task of an operator as a worker does, or runs a trigger."""

from __future__ import annotations

import asyncio
import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from airflow.sdk.exceptions import TaskDeferred

from airflow_gemini_batch import (
    GeminiBatchBuildOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
    RawRequest,
)
from airflow_gemini_batch.engine.api import run_batch
from airflow_gemini_batch.engine.build.duplicates import Duplicates
from airflow_gemini_batch.engine.build.reuse import Reused
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.submit.submission import Submission
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger
from crashing.boundaries import BoundaryWatcher, KillRule
from crashing.child_process import ReportPipe
from crashing.short_waits import shorten_waits
from crashing.source_table import CARRIED


@dataclass(frozen=True, slots=True)
class Waits:
    """Durations in seconds.

    :param timeout: of one request; below ``lease``.
    :param lease: how long a claim is held, the option ``claim_lease``.
    :param listing_lag: the option of that name; above the time that the service takes to list a new job.
    :param poll: the option ``poll_interval``.
    """

    timeout: float = 1.2
    lease: float = 3.0
    listing_lag: float = 1.5
    poll: float = 0.1


@dataclass(frozen=True, slots=True)
class RunTarget:
    """The service, the source and the destination of a run.

    :param raw_requests: take the requests from the source's column; the service refuses some of them.
    :param sabotage: ``search``: do not look for an earlier job before a create. ``dedupe``: do not see that rows are equal. The
        harness must find what is paid for twice. ``reuse``: find no earlier answers.
    :param answers: how often each row is sent.
    :param slots: jobs that all tries may have at a time; they meet in a folder beside the destination. None: no limit.
    :param reuse: the destination of an earlier run, whose results are taken over.
    """

    url: str
    key: str
    model: str
    source: str
    destination: str
    shard_rows: int
    waits: Waits
    transport: Literal["file", "inline"] = "file"
    raw_requests: bool = False
    sabotage: str = ""
    reuse: str = ""
    answers: int = 1
    slots: int | None = None

    @property
    def limits(self) -> dict[str, Any]:
        """As in the extra of a connection."""
        folder = str(Path(self.destination).parent / "limits")
        return {} if self.slots is None else {"limits_folder": folder, "max_active_jobs": self.slots}


@dataclass(frozen=True, slots=True)
class Call:
    """One call in a child process.

    :param operator: a key of ``_OPERATORS``.
    :param arguments: of the operator or the trigger.
    :param event: the trigger's event, when the task resumes after a deferral.
    """

    kind: Literal["run_batch", "task", "trigger"]
    operator: str = ""
    arguments: dict[str, Any] | None = None
    event: dict[str, Any] | None = None


def in_child(target: RunTarget, call: Call, rule: KillRule) -> Callable[[ReportPipe], tuple[str, Any]]:
    """The function for the child process: the call, with short waits, watched boundaries and the run's connection."""

    def function(pipe: ReportPipe) -> tuple[str, Any]:
        waits = target.waits
        shorten_waits()
        if target.sabotage == "search":
            Submission._search = lambda *_, **__: None  # type: ignore[method-assign]
        if target.sabotage == "dedupe":
            Duplicates.without = lambda _, blocks: blocks  # type: ignore[method-assign,assignment]
        if target.sabotage == "reuse":
            Reused.without = lambda _, blocks: blocks  # type: ignore[method-assign,assignment]
        BoundaryWatcher(pipe, rule, target.destination).install()
        extra = {"request_timeout": waits.timeout, **target.limits}
        connection = {"conn_type": "gemini", "password": target.key, "host": target.url, "extra": extra}
        os.environ["AIRFLOW_CONN_GEMINI_DEFAULT"] = json.dumps(connection)
        return {"run_batch": _run_batch, "task": _task, "trigger": _trigger}[call.kind](target, call)

    return function


def _run_batch(target: RunTarget, call: Call) -> tuple[str, Any]:
    summary = run_batch(
        target.source,
        _request(target),
        model=target.model,
        destination=target.destination,
        key="id",
        carry=list(CARRIED),
        reuse=target.reuse or None,
        repeats=target.answers,
        options=_options(target),
        endpoint=Endpoint(
            api_key=target.key,
            base_url=target.url,
            request_timeout=target.waits.timeout,
            limits=ProjectLimits.of_extra(target.limits),
        ),
    )
    return "finished", {"rows": summary.rows, "balanced": summary.balanced}


def _request(target: RunTarget) -> GenerateRequest | RawRequest:
    return RawRequest(column="request") if target.raw_requests else GenerateRequest(prompt="Repeat: ${body}")


def _options(target: RunTarget) -> BatchOptions:
    return BatchOptions(
        max_shard_requests=target.shard_rows,
        poll_interval=target.waits.poll,
        transport=target.transport,
        claim_lease=target.waits.lease,
        listing_lag=target.waits.listing_lag,
    )


_OPERATORS: dict[str, Any] = {
    "batch": GeminiBatchOperator,
    "build": GeminiBatchBuildOperator,
    "submit": GeminiBatchSubmitOperator,
    "wait": GeminiBatchSensor,
    "download": GeminiBatchDownloadOperator,
    "finish": GeminiBatchFinishOperator,
}


def _task(target: RunTarget, call: Call) -> tuple[str, Any]:
    """Run a task as a worker does: a new operator, rendered templates, and ``execute_complete`` after a deferral."""
    task = copy.deepcopy(_OPERATORS[call.operator](task_id=call.operator, **_arguments(target, call)))
    context: Any = {"ti": SimpleNamespace(dag_id="crash", run_id="r", task_id=call.operator, map_index=-1), "ds": "2026-01-01"}
    task.render_template_fields(context)
    try:
        value = task.execute(context) if call.event is None else task.execute_complete(context, event=call.event)
    except TaskDeferred as deferred:
        # Serialized, as it is stored in the metadata database.
        return "deferred", deferred.trigger.serialize()[1]
    return "finished", value


def _arguments(target: RunTarget, call: Call) -> dict[str, Any]:
    arguments = {
        "source": target.source,
        "request": _request(target),
        "model": target.model,
        "destination": target.destination,
        "key": "id",
        "carry": list(CARRIED),
        "reuse": target.reuse or None,
        "repeats": target.answers,
    }
    by_operator: dict[str, dict[str, Any]] = {
        "batch": arguments,
        "build": arguments,
        "finish": {"destination": target.destination},
    }
    return {"options": _options(target), **by_operator.get(call.operator, {}), **(call.arguments or {})}


def _trigger(target: RunTarget, call: Call) -> tuple[str, Any]:
    async def first_event() -> Any:
        return await anext(GeminiBatchTrigger(**(call.arguments or {})).run())

    return "finished", asyncio.run(first_event()).payload
