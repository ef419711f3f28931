"""What a child does: a trip of the engine, a leg of an operator as a worker runs it, or a trigger's wait."""

from __future__ import annotations

import asyncio
import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk.exceptions import TaskDeferred

from airflow_gemini_batch import (
    GeminiBatchBuildOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
)
from airflow_gemini_batch.engine.api import run_batch
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.submit.submission import Submission
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger
from crashing.boundaries import Boundaries, Fate
from crashing.children import Line
from crashing.haste import hurry

REQUEST = GenerateRequest(prompt="Repeat: ${body}")


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds. ``timeout`` of a request stays below ``lease``, the listing's lag below ``settle``."""

    timeout: float = 1.2
    lease: float = 3.0
    settle: float = 1.5
    poll: float = 0.1


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run lives and whom it asks."""

    url: str
    key: str
    model: str
    source: str
    destination: str
    shard_rows: int
    waits: Waits
    transport: Literal["file", "inline"] = "file"
    sabotaged: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What to call. ``arguments`` of the operator or the trigger; ``event`` for a leg after a wait."""

    kind: Literal["trip", "leg", "trigger"]
    operator: str = ""
    arguments: dict[str, Any] | None = None
    event: dict[str, Any] | None = None


def perform(site: Site, work: Work, fate: Fate) -> Callable[[Line], tuple[str, Any]]:
    """The work as a child does it: watched, in haste, with the run's connection."""

    def do(line: Line) -> tuple[str, Any]:
        waits = site.waits
        hurry(lease=waits.lease, listing_lag=waits.settle)
        if site.sabotaged:
            Submission._search = lambda *_, **__: None  # type: ignore[method-assign]
        Boundaries(line, fate, site.destination).watch()
        extra = {"request_timeout": waits.timeout}
        connection = {"conn_type": "gemini", "password": site.key, "host": site.url, "extra": extra}
        os.environ["AIRFLOW_CONN_GEMINI_DEFAULT"] = json.dumps(connection)
        return {"trip": _trip, "leg": _leg, "trigger": _wait}[work.kind](site, work)

    return do


def _trip(site: Site, work: Work) -> tuple[str, Any]:
    summary = run_batch(
        site.source,
        REQUEST,
        model=site.model,
        destination=site.destination,
        key="id",
        carry=["body"],
        options=_options(site),
        endpoint=Endpoint(api_key=site.key, base_url=site.url, request_timeout=site.waits.timeout),
    )
    return "finished", {"rows": summary.rows, "balanced": summary.balanced}


def _options(site: Site) -> BatchOptions:
    return BatchOptions(
        max_shard_requests=site.shard_rows,
        poll_interval=site.waits.poll,
        transport=site.transport,
        claim_lease=site.waits.lease,
        listing_lag=site.waits.settle,
    )


_OPERATORS: dict[str, Any] = {
    "batch": GeminiBatchOperator,
    "build": GeminiBatchBuildOperator,
    "submit": GeminiBatchSubmitOperator,
    "wait": GeminiBatchSensor,
    "download": GeminiBatchDownloadOperator,
    "finish": GeminiBatchFinishOperator,
}


def _leg(site: Site, work: Work) -> tuple[str, Any]:
    """One leg, as Airflow runs it: a fresh operator, templates rendered, the method that the deferral named."""
    task = copy.deepcopy(_OPERATORS[work.operator](task_id=work.operator, **_arguments(site, work)))
    context: Any = {"ti": SimpleNamespace(dag_id="crash", run_id="r", task_id=work.operator, map_index=-1), "ds": "2026-01-01"}
    task.render_template_fields(context)
    try:
        value = task.execute(context) if work.event is None else task.execute_complete(context, event=work.event)
    except TaskDeferred as deferred:
        # As it lies in the metadata database.
        return "deferred", deferred.trigger.serialize()[1]
    return "finished", value


def _arguments(site: Site, work: Work) -> dict[str, Any]:
    asked = {
        "source": site.source,
        "request": REQUEST,
        "model": site.model,
        "destination": site.destination,
        "key": "id",
        "carry": ["body"],
    }
    own: dict[str, dict[str, Any]] = {
        "batch": asked,
        "build": asked,
        "finish": {"destination": site.destination},
    }
    return {"options": _options(site), **own.get(work.operator, {}), **(work.arguments or {})}


def _wait(site: Site, work: Work) -> tuple[str, Any]:
    async def first_event() -> Any:
        return await anext(GeminiBatchTrigger(**(work.arguments or {})).run())

    return "finished", asyncio.run(first_event()).payload


def make_source(path: str, rows: int) -> None:
    """Rows ``k0``, ``k1``, …; each has words of its own, which the answer repeats."""
    pq.write_table(pa.table({"id": [f"k{row}" for row in range(rows)], "body": [body_of(row) for row in range(rows)]}), path)


def body_of(row: int) -> str:
    """Words that no other row has, and that do not follow from its neighbours'."""
    return f"row {row} mark {row * 2654435761 % 2**32:08x}"
