"""Sign flips and the percentile bootstrap, on request: cross-checks of the t interval, which is as good and far cheaper.

A seed gives the same numbers whatever the size of a chunk: resamples are drawn one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.moments import finite
from airflow_gemini_batch.evals.statistics.quantiles import check_share

#: Numbers that are drawn at a time: 32 MB of indices.
CHUNK = 4_000_000

#: Differences with so many values or fewer are drawn as counts of each value: one number for each value instead of each row.
_FEW_VALUES = 64

#: Means that differ by rounding alone are equal.
_ROUNDING = 1e-12


def sign_flip_p(differences: Any, *, resamples: int = 9999, seed: int = 0, chunk: int = CHUNK) -> float:
    """Two-sided p: how often is the mean as far from 0 when each difference gets a random sign? All signs are tried where there
    are few enough, else the seen one counts as one of the resamples.

    Right if "no difference" means that answers could be exchanged (the same model with another seed). It does not test whether
    the mean is 0: with skewed differences it errs as t does. Raises InputError without differences.
    """
    numbers = _some(differences, resamples)
    seen = abs(float(numbers.sum()))
    seen -= _ROUNDING * max(1.0, seen) if seen else 0.0
    sizes, counts = np.unique(np.abs(numbers), return_counts=True)
    dice = np.random.default_rng(seed)
    if 2 ** min(len(numbers), 64) <= resamples:
        bits = np.arange(2 ** len(numbers))[:, None] >> np.arange(len(numbers)) & 1
        return float(np.mean(np.abs((2 * bits - 1) @ np.abs(numbers)) >= seen))
    if len(sizes) <= _FEW_VALUES:
        sums = (2 * dice.binomial(counts, 0.5, size=(resamples, len(sizes))) - counts) @ sizes
    else:
        sums = np.concatenate(list(_flipped(numbers, resamples, dice, chunk)))
    return float(1 + np.count_nonzero(np.abs(sums) >= seen)) / (resamples + 1)


def bootstrap_interval(
    differences: Any, *, resamples: int = 9999, seed: int = 0, level: float = 0.95, chunk: int = CHUNK
) -> tuple[float, float]:
    """Percentile interval of the mean: drawn anew with replacement. Below 100 rows it covers less than it says.

    Raises InputError without differences.
    """
    numbers = _some(differences, resamples)
    check_share("level", level)
    values, counts = np.unique(numbers, return_counts=True)
    dice = np.random.default_rng(seed)
    if len(values) <= _FEW_VALUES:
        means = dice.multinomial(len(numbers), counts / len(numbers), size=resamples) @ values / len(numbers)
    else:
        drawn = (
            numbers[dice.integers(0, len(numbers), (rows, len(numbers)))] for rows in _chunks(len(numbers), resamples, chunk)
        )
        means = np.concatenate([one.mean(axis=1) for one in drawn])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _flipped(numbers: Any, resamples: int, dice: np.random.Generator, chunk: int) -> Iterator[Any]:
    """Sums of the numbers with random signs."""
    words = -(-len(numbers) // 64)  # whole words, so that the next resample begins with a word of its own
    total = numbers.sum()
    for rows in _chunks(len(numbers), resamples, chunk):
        drawn = dice.integers(0, 2**64, (rows, words), dtype=np.uint64)
        bits = np.unpackbits(drawn.view(np.uint8), axis=1, count=len(numbers), bitorder="little")
        yield 2 * (bits @ numbers) - total


def _chunks(n: int, resamples: int, chunk: int) -> Iterator[int]:
    rows = max(1, chunk // n)
    for start in range(0, resamples, rows):
        yield min(rows, resamples - start)


def _some(differences: Any, resamples: int) -> Any:
    numbers = finite(differences)
    if not len(numbers):
        raise InputError("There are no differences to resample. Give those of one key at least.")
    if isinstance(resamples, bool) or not isinstance(resamples, int) or resamples < 1:
        raise InputError(f"resamples is {resamples!r}; expected a whole number from 1, for example 9999.")
    return numbers
