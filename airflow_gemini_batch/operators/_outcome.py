"""What a finished run tells others: the asset events of the task's outlets, metrics, and spans."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_gemini_batch import _metrics, _tracing
from airflow_gemini_batch.engine.errors import DeadLetterRatioError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_gemini_batch.engine.run.layout import Run

#: What asset events carry of the summary, besides cost and labels.
_COUNTS = ("run_id", "destination", "model", "rows", "results", "dead_letter", "requests", "deduplicated", "reused")


def announce(context: Context, outlets: Iterable[Any], summary: Mapping[str, Any], run: Run) -> None:
    """Give the events of the task's assets what a downstream task needs, and send the run's metrics and spans.

    :param summary: of the finished run, as a plain dict.
    """
    _fill_asset_events(context, outlets, summary)
    _measure(context, summary, run, outcome="accepted")


@contextlib.contextmanager
def measured_despite_dead_letters(context: Context, run: Callable[[], Run]) -> Iterator[None]:
    """A run with more dead letters than allowed is finished too, and is the one to alert of: it is measured, then fails."""
    try:
        yield
    except DeadLetterRatioError:
        from airflow_gemini_batch.engine.finish.summary import summary_of

        with contextlib.suppress(Exception):  # what is to be seen is the run's own error
            summary = summary_of(run())
            if summary is not None:
                _measure(context, summary.as_dict(), run(), outcome="too_many_dead_letters")
        raise


def _measure(context: Context, summary: Mapping[str, Any], run: Run, *, outcome: str) -> None:
    ti = context["ti"]
    tags = {"dag_id": str(ti.dag_id), "task_id": str(ti.task_id), "model": str(summary["model"])}
    _send_metrics(summary, tags)
    # A gauge keeps its last value, and the trigger that sent it has ended.
    _metrics.gauge("oldest_job_seconds", 0.0, dag_id=tags["dag_id"], task_id=tags["task_id"])
    _metrics.count("runs", 1, outcome=outcome, **tags)
    manifest = run.manifest()
    _tracing.record_jobs(summary, embeds=manifest is not None and manifest.embeds)


def asset_extra(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The ``extra`` of an asset event: plain JSON, a few hundred bytes."""
    extra = {name: summary[name] for name in _COUNTS}
    return {**extra, "cost_usd": summary["cost"]["usd"], "reasons": summary["reasons"], "labels": summary["labels"]}


def _fill_asset_events(context: Context, outlets: Iterable[Any], summary: Mapping[str, Any]) -> None:
    from airflow.sdk import Asset

    events = context.get("outlet_events")
    if events is None:
        return
    # Of a DAG run that is itself about a partition (Airflow 3.3). Its event has no key: whether it shall is the DAG's choice.
    partition = {"partition_key": key} if (key := context.get("partition_key")) else {}
    for outlet in outlets:
        if isinstance(outlet, Asset):  # an alias has no event until a task adds an asset to it
            events[outlet].extra.update({**asset_extra(summary), **partition})


def _send_metrics(summary: Mapping[str, Any], tags: dict[str, str]) -> None:
    for name in ("rows", "results", "requests", "deduplicated", "reused"):
        _metrics.count(name, summary[name], **tags)
    for reason, rows in summary["reasons"].items():
        _metrics.count("dead_letters", rows, reason=reason, **tags)
    for kind, tokens in summary["tokens"].items():
        _metrics.count("tokens", tokens, kind=kind.removesuffix("_tokens"), **tags)
    if summary["cost"]["usd"] is not None:
        _metrics.gauge("cost_usd", summary["cost"]["usd"], **tags)
    for job in summary["jobs"]:
        if (age := _seconds(job["create_time"], job["end_time"])) is not None:
            _metrics.timing("job_age", age, state=job["state"], **tags)
    if (age := _seconds(summary["started_at"], summary["finished_at"])) is not None:
        _metrics.timing("run_age", age, **tags)


def _seconds(start: str, end: str) -> float | None:
    from airflow_gemini_batch.engine.gemini.jobs import time_of

    first, last = time_of(start), time_of(end)
    return None if first is None or last is None else (last - first) / dt.timedelta(seconds=1)
