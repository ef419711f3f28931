"""What keys without an answer on one side could do to the difference.

Keys are seldom missing at random: the hard ones fail. The difference over the keys that both runs have is then that of the
easy ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.scorers import Kind
from airflow_gemini_batch.evals.statistics.differences import Difference, difference_of
from airflow_gemini_batch.evals.statistics.moments import finite
from airflow_gemini_batch.evals.statistics.tally import Tally


@dataclass(frozen=True, slots=True)
class MissingBounds:
    """The difference over all keys, whatever the missing answers would have been.

    :param low, high: of the mean difference.
    :param low_ci, high_ci: the lower end of the lowest's interval, the upper end of the highest's: sampling alone carries ``low``
        and ``high`` past the truth in several of 100 comparisons. None where there is no interval.
    :param as_worst: the difference with every missing answer counted at the scorer's worst.
    """

    low: float | None
    high: float | None
    low_ci: float | None
    high_ci: float | None
    as_worst: Difference


class MissingTally:
    """Differences with what is missing filled in, chunk by chunk.

    :param worst, best: of the scorer. A best below the worst means that lower is better.
    :param clustered, coded: as of ``Tally``.
    """

    def __init__(self, worst: float, best: float, *, clustered: bool = False, coded: bool = False) -> None:
        if not (np.isfinite(worst) and np.isfinite(best)) or worst == best:
            raise InputError(f"worst and best are {worst} and {best}; bounds need two different numbers.")
        self.worst, self.best = float(worst), float(best)
        self._lowest, self._highest, self.as_worst = (Tally(clustered=clustered, coded=coded) for _ in range(3))

    def add(self, baseline: Any, candidate: Any, clusters: Any = None, *, lost: tuple[Any, Any] | None = None) -> None:
        """
        :param baseline, candidate: one number for each key of either run; NaN where the key has no answer on that side.
        :param lost: of each side, the share of each key's repeats that has no answer. None: of a key with a number, none.
        """
        first, second = (np.asarray(side, dtype=float).ravel() for side in (baseline, candidate))
        if len(first) != len(second):
            raise InputError(
                f"There are {len(first):,} keys of the baseline and {len(second):,} of the candidate; pair them first."
            )
        least, most = min(self.worst, self.best), max(self.worst, self.best)
        both = finite(np.concatenate([first[~np.isnan(first)], second[~np.isnan(second)]]))
        slack = 1e-9 * (most - least)  # a mean over repeats may lie above all of them by rounding
        if len(both) and (both.min() < least - slack or both.max() > most + slack):
            raise InputError(
                f"A score is outside worst and best ({self.worst}, {self.best}); found {both.min()} to {both.max()}."
            )
        of_first, of_second = lost or (0.0, 0.0)
        self._lowest.add(_filled(second, least, of_second) - _filled(first, most, of_first), clusters)
        self._highest.add(_filled(second, most, of_second) - _filled(first, least, of_first), clusters)
        self.as_worst.add(_filled(second, self.worst, of_second) - _filled(first, self.worst, of_first), clusters)

    def bounds(self, *, kind: Kind, averaged: bool = False, level: float = 0.95) -> MissingBounds:
        span = abs(self.best - self.worst)
        low, high, worst = (
            difference_of(tally, kind=kind, averaged=averaged, level=level, span=span)
            for tally in (self._lowest, self._highest, self.as_worst)
        )
        return MissingBounds(low.mean, high.mean, low.low, high.high, worst)


def missing_bounds(
    baseline: Any,
    candidate: Any,
    *,
    kind: Kind,
    worst: float = 0.0,
    best: float = 1.0,
    averaged: bool = False,
    clusters: Any = None,
    level: float = 0.95,
) -> MissingBounds:
    """:param baseline, candidate: one number for each key of either run; NaN where the key has no answer on that side."""
    tally = MissingTally(worst, best, clustered=clusters is not None)
    tally.add(baseline, candidate, clusters)
    return tally.bounds(kind=kind, averaged=averaged, level=level)


def _filled(values: Any, value: float, lost: Any) -> Any:
    """The means of keys, with what was lost of each at this value."""
    return np.where(np.isnan(values), value, (1 - lost) * values + lost * value)
