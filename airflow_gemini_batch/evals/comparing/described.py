"""What a comparison says of each run as a whole."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from airflow_gemini_batch.engine.finish.summary import JobSummary
from airflow_gemini_batch.evals.comparing.sides import Side
from airflow_gemini_batch.evals.comparison import ComparedRun


def described(side: Side) -> ComparedRun:
    """A side whose rows have been read."""
    summary, manifest = side.run.summary, side.run.run.manifest()
    return ComparedRun(
        run=side.run.destination.uri,
        run_id=summary.run_id,
        model=summary.model,
        request_sha256="" if manifest is None else manifest.question,
        rows=summary.rows,
        results=summary.results,
        dead_letters=summary.dead_letter,
        repeats=summary.repeats,
        finish_reasons=dict(side.finish_reasons.most_common()),
        cost_usd=summary.cost.usd,
        judge_cost_usd=side.scores.judge_cost_usd if any(one.judge for one in side.scores.scorers) else None,
        seconds=seconds_of(summary.jobs),
        finished_at=summary.finished_at,
        scores=side.scores.name,
        labels=summary.labels,
    )


def seconds_of(jobs: Iterable[JobSummary]) -> float | None:
    """From the first job's creation to the last job's end; None where the service did not say."""
    times = [(_time(job.create_time), _time(job.end_time)) for job in jobs]
    starts = [start for start, _ in times if start is not None]
    ends = [end for _, end in times if end is not None]
    return (max(ends) - min(starts)).total_seconds() if starts and ends else None


def _time(text: str) -> dt.datetime | None:
    """RFC 3339, with up to nine digits of a second."""
    seconds, dot, fraction = text.removesuffix("Z").partition(".")
    try:
        return dt.datetime.fromisoformat(f"{seconds}{dot}{fraction[:6].ljust(6, '0') if dot else ''}+00:00")
    except ValueError:
        return None
