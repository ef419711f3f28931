"""Costs, tokens and times of two runs: skewed amounts, which are compared on logarithms, as "12 % more"."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.differences import LARGE_SKEWNESS, MANY_ROWS, difference_of
from airflow_gemini_batch.evals.statistics.moments import finite
from airflow_gemini_batch.evals.statistics.tally import Tally


@dataclass(frozen=True, slots=True)
class Ratio:
    """Candidate relative to baseline, as the geometric mean over keys: 1.12 is 12 % more.

    :param n: keys with an amount above 0 on both sides; ``skipped`` keys have 0 on a side, of which no ratio can be made.
    :param ratio, low, high: with the interval; None where nothing can be said. ``p`` is that of Student's t on the logarithms.
    :param note: why there is no interval, in words; "" where there is one.
    """

    n: int
    skipped: int
    ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    level: float
    note: str = ""

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 1, and chance does not explain it where all rows have the same ratio."""
        return (
            self.p is not None
            and self.p < 1 - self.level
            and self.low is not None
            and self.high is not None
            and (self.low > 1 or self.high < 1)
        )


class RatioTally:
    """Pairs of amounts, chunk by chunk. Amounts are not negative."""

    def __init__(self) -> None:
        self._logs = Tally()
        self._skipped = 0

    def add(self, baseline: Any, candidate: Any) -> None:
        first, second = finite(baseline), finite(candidate)
        if len(first) != len(second):
            raise InputError(f"There are {len(first):,} amounts of the baseline and {len(second):,} of the candidate; pair them.")
        if len(first) and min(first.min(), second.min()) < 0:
            raise InputError(f"An amount is {min(first.min(), second.min())}; costs, tokens and times are not negative.")
        positive = (first > 0) & (second > 0)
        self._skipped += int(len(first) - positive.sum())
        self._logs.add(np.log(second[positive]) - np.log(first[positive]))

    def ratio(self, *, level: float = 0.95) -> Ratio:
        found = difference_of(self._logs, kind="float", level=level)
        mean = None if found.mean is None else math.exp(found.mean)
        if found.n < MANY_ROWS and abs(self._logs.moments.skewness) > LARGE_SKEWNESS:
            note = f"too few rows: {found.n} of a skewed amount; {MANY_ROWS} are needed"
        elif found.n < 2:
            note = f"too few rows: {found.n} with an amount above 0 on both sides"
        elif found.low is None or found.high is None:
            return Ratio(found.n, self._skipped, mean, mean, mean, found.p, level, "the same ratio in all rows")
        else:
            return Ratio(found.n, self._skipped, mean, math.exp(found.low), math.exp(found.high), found.p, level)
        return Ratio(found.n, self._skipped, mean, None, None, None, level, note)


def paired_ratio(baseline: Any, candidate: Any, *, level: float = 0.95) -> Ratio:
    """:param baseline, candidate: the amounts of each key, from 0."""
    tally = RatioTally()
    tally.add(baseline, candidate)
    return tally.ratio(level=level)
