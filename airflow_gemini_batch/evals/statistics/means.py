"""The mean score of one run, with an interval of its own. Two such intervals do not say whether the runs differ."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from airflow_gemini_batch.evals.scorers import Kind
from airflow_gemini_batch.evals.statistics.differences import difference_of, unseen_share
from airflow_gemini_batch.evals.statistics.quantiles import check_share, quantile
from airflow_gemini_batch.evals.statistics.tally import Tally


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """
    :param n: keys. Without any, all that follows is None; with one, only ``mean`` is known for floats.
    :param stderr: of a mean of booleans ``sqrt(p * (1 - p) / n)``.
    """

    n: int
    mean: float | None
    stderr: float | None
    low: float | None
    high: float | None
    method: Literal["wilson", "t", "clustered-t", "constant", "none"]


def mean_interval(
    values: Any, *, kind: Kind, averaged: bool = False, clusters: Iterable[Any] | None = None, level: float = 0.95
) -> MeanInterval:
    """:param values: one for each key: a score, or the mean over the key's repeats (``averaged``). Booleans are 0 and 1."""
    return mean_of(Tally.of(values, clusters), kind=kind, averaged=averaged, level=level)


def mean_of(tally: Tally, *, kind: Kind, averaged: bool = False, level: float = 0.95) -> MeanInterval:
    """``mean_interval`` of values that were read chunk by chunk: Wilson's for booleans, else Student's t."""
    if kind == "boolean" and not averaged and tally.clusters is None and tally.n:
        return _wilson(tally.positive, tally.n, level)
    found = difference_of(tally, kind=kind, averaged=averaged, level=level)
    low, high = found.low, found.high
    if found.method == "constant" and kind == "boolean" and found.mean is not None:
        unseen = unseen_share(found.clusters or found.n, (1 + level) / 2)
        low, high = found.mean * (1 - unseen), found.mean + unseen * (1 - found.mean)
    if kind == "boolean" and low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
    assert found.method != "agresti-min"
    return MeanInterval(found.n, found.mean, found.stderr, low, high, found.method)


def _wilson(passed: int, n: int, level: float) -> MeanInterval:
    share, z = passed / n, quantile((1 + check_share("level", level)) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    width = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (0.0 if passed == 0 else centre - width), (1.0 if passed == n else centre + width)
    return MeanInterval(n, share, math.sqrt(share * (1 - share) / n), low, high, "wilson")
