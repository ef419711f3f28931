"""OpenTelemetry: a span for each job of a finished run, by the conventions for generative AI (``gen_ai.*``), see docs/metrics.md.

Jobs run for hours and over several processes, so their spans are made when the run is finished, with the times that the service
gave, below the task's own span. Airflow sets the exporter up (``[traces] otel_on``); without it nothing is recorded. Prompts and
answers are never in a span: a job has thousands, and the tables have them.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

#: Kind of tokens in a job's summary -> attribute.
_USAGE = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens",
}


def record_jobs(summary: Mapping[str, Any], *, embeds: bool) -> None:
    """Make the spans of a finished run. Never raises, and does nothing where nothing records spans.

    :param summary: as a plain dict.
    :param embeds: whether its requests ask for embeddings.
    """
    try:
        from opentelemetry import trace
    except ImportError:
        return
    try:
        from airflow_gemini_batch import __version__

        tracer = trace.get_tracer("airflow_gemini_batch", __version__)
        for job in summary["jobs"]:
            _record(tracer, summary, job, "embeddings" if embeds else "generate_content")
    except Exception as error:
        log.debug("The spans of the jobs were not made: %r", error)


def _record(tracer: Any, summary: Mapping[str, Any], job: Mapping[str, Any], operation: str) -> None:
    from opentelemetry.trace import SpanKind, Status, StatusCode

    created, ended = _nanoseconds(job["create_time"]), _nanoseconds(job["end_time"])
    if created is None or ended is None:
        return
    span = tracer.start_span(f"{operation} {summary['model']}", kind=SpanKind.CLIENT, start_time=created)
    if span.is_recording():
        span.set_attributes(_attributes(summary, job, operation))
        if job["state"] != "SUCCEEDED":
            span.set_attribute("error.type", job["state"])
            span.set_status(Status(StatusCode.ERROR, f"The job is {job['state']}."))
    span.end(ended)


def _attributes(summary: Mapping[str, Any], job: Mapping[str, Any], operation: str) -> dict[str, Any]:
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": summary["model"],
        **{name: job["tokens"][kind] for kind, name in _USAGE.items() if kind in job["tokens"]},
        "gemini_batch.run_id": summary["run_id"],
        "gemini_batch.destination": summary["destination"],
        "gemini_batch.job": job["name"],
        **{f"gemini_batch.{name}": job[name] for name in ("state", "shard", "attempt", "requests", "results", "dead_letter")},
        **{f"gemini_batch.label.{name}": text for name, text in summary["labels"].items()},
    }
    return attributes if job["cost_usd"] is None else {**attributes, "gemini_batch.cost_usd": job["cost_usd"]}


def _nanoseconds(text: str) -> int | None:
    from airflow_gemini_batch.engine.gemini.jobs import time_of

    moment = time_of(text)
    if moment is None:
        return None
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    return (moment - epoch) // dt.timedelta(microseconds=1) * 1000
