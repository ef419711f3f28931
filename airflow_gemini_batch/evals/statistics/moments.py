"""Moments of numbers that arrive chunk by chunk, so that no column has to be in memory.

Chunks are merged by the formulas of Chan, Golub and LeVeque (1983), and of Pébay (2008) for the third moment. Plain sums of
squares would lose all digits of small differences between large numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import InputError


@dataclass(frozen=True, slots=True)
class Moments:
    """
    :param n: how many numbers; ``least`` and ``most`` are the smallest and the largest (0 without numbers).
    :param squares, cubes: sums of the second and third powers of the distances from the mean.
    """

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    cubes: float = 0.0
    least: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, values: Any) -> Moments:
        numbers = finite(values)
        if not len(numbers):
            return cls()
        mean = float(numbers.mean())
        away = numbers - mean
        squared = away * away
        return cls(
            len(numbers), mean, float(squared.sum()), float((squared * away).sum()), float(numbers.min()), float(numbers.max())
        )

    def __add__(self, other: Moments) -> Moments:
        if not self.n or not other.n:
            return self if self.n else other
        n, gap = self.n + other.n, other.mean - self.mean
        product = self.n * other.n
        squares = self.squares + other.squares + gap**2 * product / n
        cubes = self.cubes + other.cubes + gap**3 * product * (self.n - other.n) / n**2
        cubes += 3 * gap * (self.n * other.squares - other.n * self.squares) / n
        mean = self.mean + gap * other.n / n
        return Moments(n, mean, squares, cubes, min(self.least, other.least), max(self.most, other.most))

    @property
    def constant(self) -> bool:
        """Whether all numbers are equal. Read from the extremes: a variance of equal numbers need not come out as 0."""
        return self.least == self.most

    @property
    def variance(self) -> float | None:
        """With n - 1; None for fewer than two numbers."""
        if self.n < 2:
            return None
        return 0.0 if self.constant else self.squares / (self.n - 1)

    @property
    def skewness(self) -> float:
        """Third standardised moment; 0 for equal numbers."""
        if self.constant or self.squares <= 0:
            return 0.0
        return math.sqrt(self.n) * self.cubes / (self.squares * math.sqrt(self.squares))


def finite(values: Any) -> Any:
    """As a flat array of floats. Raises InputError for what is no number: a row without a score is counted, not compared."""
    try:
        numbers = np.asarray(values, dtype=float).ravel()
    except (TypeError, ValueError) as error:
        raise InputError(f"Numbers are expected to be compared, and one is not: {error}.") from error
    if not np.isfinite(numbers).all():
        at = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise InputError(f"Number {at} of those to be compared is {numbers[at]}; rows without a score are counted as missing.")
    return numbers
