"""How the tokens of a run's results and the times of its jobs are distributed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.finish.summary import JobSummary
from airflow_gemini_batch.engine.gemini.jobs import time_of
from airflow_gemini_batch.engine.report.histograms import Histogram
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.threads import in_order

#: Parts that are read at the same time, and values that are read at a time.
_AT_ONCE = 8
_VALUES = 1 << 16

#: Parts that are read; of more, this many are taken at equal distances. It bounds the requests to an object store.
MOST_PARTS = 2_000

_COLUMNS = ("prompt_tokens", "output_tokens")


class TokenCounts(NamedTuple):
    """Tokens of the results that were paid for.

    :param parts: how many parts were read, of how many.
    """

    prompt: Histogram
    output: Histogram
    parts: int
    of_parts: int


def token_counts(parts: Sequence[Location]) -> TokenCounts:
    """
    :param parts: of the results table; one that is absent, or being written anew, is passed over.
    """
    chosen = parts if len(parts) <= MOST_PARTS else [parts[number * len(parts) // MOST_PARTS] for number in range(MOST_PARTS)]
    every = {name: Histogram() for name in _COLUMNS}
    for counted in in_order(chosen, _count, at_once=_AT_ONCE):  # a few histograms in memory, however many parts there are
        for name, histogram in counted.items():
            every[name].merge(histogram)
    return TokenCounts(every["prompt_tokens"], every["output_tokens"], len(chosen), len(parts))


def _count(part: Location) -> dict[str, Histogram]:
    counted = {name: Histogram() for name in _COLUMNS}
    try:
        with part.open() as file, pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_VALUES, columns=list(_COLUMNS)):
                for name, histogram in counted.items():
                    histogram.add(batch.column(name).drop_null().to_numpy(zero_copy_only=False).astype(np.int64))
    except (FileNotFoundError, pa.ArrowInvalid):
        return {}
    return counted


def job_seconds(jobs: Iterable[JobSummary]) -> Histogram:
    """The whole seconds from the creation of each job to its end."""
    histogram = Histogram()
    histogram.add([round(seconds) for job in jobs if (seconds := seconds_of(job)) is not None])
    return histogram


def seconds_of(job: JobSummary) -> float | None:
    """How long a job took; None where the service did not say."""
    created, ended = time_of(job.create_time), time_of(job.end_time)
    return None if created is None or ended is None else max(0.0, (ended - created).total_seconds())
