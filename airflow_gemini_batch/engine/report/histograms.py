"""How values are distributed, in memory that does not grow with their number.

Values are counted in fixed buckets: one for each number below 256, from there 128 for each doubling. So a quantile is right to
within a percent, whatever the range is, and two histograms can be added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Buckets for each doubling.
_STEPS = 128

#: The largest value that is told apart from larger ones: 2^53, up to which a float counts exactly.
_LARGEST = 1 << 53

_BUCKETS = _STEPS * (53 - 7 + 2)

#: Bars of a plot: enough for a shape, wide enough for a finger; fewer where there are few values.
_MOST_BARS, _FEWEST_BARS = 40, 8

#: Steps of an axis that people read easily: of numbers, and of times in seconds.
ROUND_NUMBERS = tuple(float(digit * 10**power) for power in range(16) for digit in (1, 2, 5))
ROUND_TIMES = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, *(60.0 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
               *(3600.0 * hours for hours in (1, 2, 3, 6, 12)), *(86400.0 * days for days in ROUND_NUMBERS))  # fmt: skip

#: From this ratio on between a high and a low quantile, bars grow with the values.
_WIDE = 60


class Bars(NamedTuple):
    """What a plot shows.

    :param edges: one more than there are counts.
    :param above: values above the last edge; they are few and far away.
    :param grows: whether each bar is a constant factor wider than the one before it.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    above: int = 0
    grows: bool = False


class Histogram:
    """Counts whole numbers from 0."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self.total = 0
        self.low: int | None = None
        self.high: int | None = None

    def add(self, values: npt.NDArray[np.int64] | Iterable[int]) -> None:
        """Negative values, which nobody expects, count as 0."""
        numbers = np.clip(np.asarray(values if isinstance(values, np.ndarray) else list(values), np.int64), 0, _LARGEST)
        if not numbers.size:
            return
        self._counts += np.bincount(_bucket_of(numbers), minlength=_BUCKETS)
        self.total += int(numbers.sum())
        low, high = int(numbers.min()), int(numbers.max())
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def merge(self, other: Histogram) -> None:
        """Add what another one has counted."""
        self._counts += other._counts
        self.total += other.total
        for value in (other.low, other.high):
            if value is not None:
                self.low = value if self.low is None else min(self.low, value)
                self.high = value if self.high is None else max(self.high, value)

    @property
    def count(self) -> int:
        return int(self._counts.sum())

    @property
    def mean(self) -> float:
        return self.total / max(1, self.count)

    def quantile(self, share: float) -> int:
        """The value below which this share of all lies; 0 where nothing was counted."""
        if self.low is None or self.high is None:
            return 0
        reached = np.cumsum(self._counts) >= share * self.count
        lower = int(_lower_edges()[int(np.argmax(reached))])
        return min(max(lower, self.low), self.high)

    def bars(self, steps: Sequence[float] = ROUND_NUMBERS) -> Bars:
        """The distribution in at most 42 bars between round numbers. A few values far above all others are counted apart.

        :param steps: how wide a bar may be, in rising order.
        """
        if self.low is None or self.high is None:
            return Bars((), ())
        edges, grows = self._edges(self.low, self.high, steps)
        used = np.flatnonzero(self._counts)
        first, last = int(used[0]), int(used[-1])
        # Within a bucket, values are taken to be spread evenly: buckets need not begin where bars do.
        starts = [self.low, *_lower_edges()[first + 1 : last + 1], self.high + 1]
        below = np.interp(edges, starts, [0, *np.cumsum(self._counts[first : last + 1])])
        counts = np.diff(np.rint(below)).astype(int)
        return Bars(tuple(edges), tuple(int(count) for count in counts), max(0, self.count - int(counts.sum())), grows)

    def _edges(self, low: int, high: int, steps: Sequence[float]) -> tuple[list[float], bool]:
        usual = self.quantile(0.995)
        most = min(_MOST_BARS, max(_FEWEST_BARS, round(2 * math.sqrt(self.count))))
        if high - low < most:
            return [float(edge) for edge in range(low, high + 2)], False
        if usual > _WIDE * max(1, self.quantile(0.05)):
            first = max(1, low)
            doublings = math.log2((high + 1) / first)
            bars = min(most, max(_FEWEST_BARS, round(2 * doublings)))
            growing = (first * 2 ** (doublings * bar / bars) for bar in range(1, bars))
            return [float(low), *growing, float(high + 1)], True
        top = high if high <= 1.5 * usual else usual
        step = round_up((top - low) / (most - 1), steps)
        start = math.floor(low / step) * step
        return [start + step * bar for bar in range(math.floor((top - start) / step) + 2)], False


def round_up(value: float, steps: Sequence[float]) -> float:
    """The smallest of these steps that is not below the value; the largest one, if there is none."""
    return next((step for step in steps if step >= value), steps[-1])


def _bucket_of(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    exponents = np.frexp(np.maximum(values, 1).astype(np.float64))[1] - 1
    shifts = np.maximum(exponents - 7, 0).astype(np.int64)
    buckets: npt.NDArray[np.int64] = shifts * _STEPS + (values >> shifts)
    return buckets


def _lower_edges() -> npt.NDArray[np.float64]:
    """The smallest value of each bucket."""
    numbers = np.arange(_BUCKETS, dtype=np.int64)
    shifts = np.maximum(numbers // _STEPS - 1, 0)
    edges: npt.NDArray[np.float64] = ((numbers - shifts * _STEPS).astype(np.float64)) * 2.0**shifts
    return edges
