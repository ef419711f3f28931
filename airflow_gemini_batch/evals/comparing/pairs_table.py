"""``pairs-00000.parquet``: one row for each key of either run and scorer; one file for each candidate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.evals.comparing.pairing import Pairs, ScoredKeys
from airflow_gemini_batch.evals.comparing.sides import Reasons

PAIRS_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("cluster", pa.string()),
        pa.field("scorer", pa.string()),
        pa.field("baseline", pa.float64()),
        pa.field("candidate", pa.float64()),
        pa.field("difference", pa.float64()),
        pa.field("baseline_repeats", pa.int32()),
        pa.field("candidate_repeats", pa.int32()),
        pa.field("baseline_sd", pa.float64()),
        pa.field("candidate_sd", pa.float64()),
        pa.field("status", pa.string()),
        pa.field("baseline_reason", pa.string()),
        pa.field("candidate_reason", pa.string()),
    ]
)

#: By whether the baseline (1) and the candidate (2) have a score.
_STATUSES = ("neither", "only_baseline", "only_candidate", "paired")


def pairs_file(candidate: int) -> str:
    return f"pairs-{candidate:05}.parquet"


def rows_of(pairs: Pairs, scorers: Sequence[str], cluster: pa.Array | None, reasons: Reasons) -> Iterator[pa.RecordBatch]:
    """The rows of the keys, one batch for each scorer.

    :param cluster: of each key; None without clusters.
    """
    size = len(pairs.keys)
    names, statuses = columns.strings([name or None for name in reasons.names]), columns.strings(list(_STATUSES))
    for number, scorer in enumerate(scorers):
        first, second = pairs.baseline.scored[number], pairs.candidate.scored[number]
        status = (first.n > 0) + 2 * (second.n > 0)
        content = [
            pairs.keys,
            pa.nulls(size, pa.string()) if cluster is None else cluster,
            columns.constant_string(scorer, size),
            columns.from_numpy_with_nan(first.mean),
            columns.from_numpy_with_nan(second.mean),
            columns.from_numpy_with_nan(second.mean - first.mean),
            columns.from_numpy(first.n.astype(np.int32)),
            columns.from_numpy(second.n.astype(np.int32)),
            _deviation(first),
            _deviation(second),
            statuses.take(columns.from_numpy(status.astype(np.int32))),
            names.take(columns.from_numpy(first.code)),
            names.take(columns.from_numpy(second.code)),
        ]
        yield pa.record_batch(content, schema=PAIRS_SCHEMA)


def _deviation(scored: ScoredKeys) -> Any:
    """Standard deviation of a key's scores; null for fewer than two."""
    return columns.from_numpy(np.sqrt(scored.variance), scored.n > 1)
