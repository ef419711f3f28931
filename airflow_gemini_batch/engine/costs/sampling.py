"""Which rows stand for a table, and what they say about the whole of it.

A row is drawn half by the bytes of its request and half as likely as any other, with replacement: rows that cost much are mostly
large ones, and where they are not, every row still has its chance. Any mean of value / probability over the draws estimates the
total without bias. The interval is a bootstrap-t: costs are skewed, and an interval that is symmetric misses their long side.

Invariant: nothing here holds a value for each row of the table, so memory does not grow with it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

#: Resamples of the bootstrap. More change the ends by less than the sample itself does.
_RESAMPLES = 1999

#: Shares of the resamples beyond the two ends. With 2.5 % on each side, costs lie above the high end in 5 % of the trials of 50
#: rows, and in 9 % where thoughts have a long tail (benchmarks/estimate.py); and the high end is what a budget is compared with.
_BELOW, _ABOVE = 0.025, 0.0075

#: Of the resampling, so that the same trial gives the same interval.
_SEED = 20261125

#: Two-sided 95 % quantiles of Student's t by degrees of freedom, for samples that are too small or too even to be resampled.
_T = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 8: 2.306, 10: 2.228, 15: 2.131, 20: 2.086, 30: 2.042}


class Population(msgspec.Struct, frozen=True):
    """All requests of a table that are to be paid for.

    :param requests: how many; ``bytes`` is the sum of their sizes.
    """

    requests: int = 0
    bytes: int = 0

    def probability(self, size: int | np.ndarray[Any, Any]) -> Any:
        """Of a request of that size, in each draw."""
        return 0.5 * size / self.bytes + 0.5 / self.requests


class Draws:
    """The requests that are drawn from a population, found while it is read once more.

    With as many draws as there are requests, or more, each of them is drawn once.

    :param seed: the same seed draws the same requests.
    """

    def __init__(self, population: Population, draws: int, seed: int) -> None:
        self.takes_all = draws >= population.requests
        self._row = self._byte = 0
        dice = random.Random(seed)  # its sequence is the same in all versions of Python, unlike numpy's
        by_row, by_byte = [], []
        for _ in range(0 if self.takes_all else draws):
            if dice.random() < 0.5:
                by_byte.append(int(dice.random() * population.bytes))
            else:
                by_row.append(int(dice.random() * population.requests))
        self._by_row, self._by_byte = np.array(sorted(by_row), np.int64), np.array(sorted(by_byte), np.int64)

    def of(self, sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """How often each of the next requests is drawn.

        :param sizes: their bytes, above zero.
        """
        if self.takes_all:
            return np.ones(len(sizes), np.int64)
        times = np.zeros(len(sizes), np.int64)
        first, last = np.searchsorted(self._by_row, [self._row, self._row + len(sizes)])
        np.add.at(times, self._by_row[first:last] - self._row, 1)
        ends = self._byte + np.cumsum(sizes)
        after = int(ends[-1]) if len(sizes) else self._byte
        first, last = np.searchsorted(self._by_byte, [self._byte, after])
        np.add.at(times, np.searchsorted(ends, self._by_byte[first:last], side="right"), 1)
        self._row, self._byte = self._row + len(sizes), after
        return times


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the ends between which the truth lies in 95 of 100 cases."""

    low: float
    middle: float
    high: float

    def plus(self, amount: float) -> Interval:
        return Interval(self.low + amount, self.middle + amount, self.high + amount)


def interval_of_total(shares: np.ndarray[Any, Any]) -> Interval:
    """The total of a population.

    :param shares: value / probability of each draw, at least two; a row that was drawn twice is there twice.
    """
    count = len(shares)
    total, error = float(shares.mean()), float(shares.std(ddof=1)) / count**0.5
    resampled = shares[np.random.default_rng(_SEED).integers(0, count, (_RESAMPLES, count))]
    errors = resampled.std(1, ddof=1) / count**0.5
    if np.count_nonzero(errors > abs(total) * 1e-9) < _RESAMPLES * 0.9:
        spread = _student(count - 1) * error
        return Interval(total - spread, total, total + spread)
    # A resample of equal values has no error of its own, and would be infinitely far away.
    distances = (resampled.mean(1) - total) / np.maximum(errors, 1e-12 + abs(total) * 1e-9)
    nearest, farthest = np.quantile(distances, [_ABOVE, 1 - _BELOW])
    return Interval(total - max(float(farthest), 0.0) * error, total, total - min(float(nearest), 0.0) * error)


def _student(degrees: int) -> float:
    return next((value for most, value in reversed(_T.items()) if most <= degrees), _T[1])
