"""How fast the rows of a run are answered, from what was observed, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from airflow_gemini_batch.engine.run.job_progress import JobProgress, Sample

#: Seconds. What happened earlier says little about now: the service runs jobs in bursts.
_WINDOW = 3600.0


class Pace(msgspec.Struct, frozen=True):
    """
    :param rows_per_second: None while nothing was observed.
    :param seconds_left: None where that cannot be said.
    """

    rows_per_second: float | None = None
    seconds_left: float | None = None


class Landings(NamedTuple):
    """Rows that have landed, and the seconds from the first job to the last of them."""

    rows: int
    seconds: float


def pace_of(progress: JobProgress, landings: Landings | None, *, left: int, now: float) -> Pace:
    """The pace of the jobs as they were checked; where the service says nothing of running jobs, that of the landings.

    :param left: rows that have no answer yet.
    :param now: seconds since the epoch.
    """
    rate = _rate_of_samples(progress.samples, now)
    if rate is None and landings is not None and landings.seconds > 0 and landings.rows > 0:
        rate = landings.rows / landings.seconds
    return Pace(rate, None if rate is None else left / rate)


def _rate_of_samples(samples: Sequence[Sample], now: float) -> float | None:
    """Over the last hour; if nothing was done in it, over all that is known."""
    recent = [sample for sample in samples if sample.at >= now - _WINDOW]
    for chosen in (recent, samples):
        if len(chosen) >= 2 and chosen[-1].at > chosen[0].at and chosen[-1].done > chosen[0].done:
            return (chosen[-1].done - chosen[0].done) / (chosen[-1].at - chosen[0].at)
    return None
