"""The rate is what was observed in the last hour, else over all; the landings speak where the service does not."""

from __future__ import annotations

import pytest

from airflow_gemini_batch.engine.report.rate import Landings, Pace, pace_of
from airflow_gemini_batch.engine.run.job_progress import JobProgress, Sample


@pytest.mark.parametrize(
    ("samples", "landings", "pace"),
    [
        ((), None, Pace(None, None)),
        ((Sample(10_000, 50),), None, Pace(None, None)),
        ((Sample(9_900, 0), Sample(10_000, 200)), None, Pace(2.0, 50.0)),
        ((Sample(0, 0), Sample(9_900, 100), Sample(10_000, 300)), None, Pace(2.0, 50.0)),
        ((Sample(0, 0), Sample(9_900, 99), Sample(10_000, 99)), None, Pace(0.0099, 100 / 0.0099)),
        ((Sample(9_900, 0), Sample(10_000, 0)), Landings(400, 100.0), Pace(4.0, 25.0)),
        ((), Landings(0, 100.0), Pace(None, None)),
        ((), Landings(5, 0.0), Pace(None, None)),
    ],
)
def test_the_pace(samples: tuple[Sample, ...], landings: Landings | None, pace: Pace) -> None:
    assert pace_of(JobProgress({}, samples), landings, left=100, now=10_000) == pace
