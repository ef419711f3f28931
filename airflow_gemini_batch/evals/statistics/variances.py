"""How much of the spread is the model's mood, and how much the keys': what more repeats, and what more keys, would save."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.moments import Moments, finite


@dataclass(frozen=True, slots=True)
class VarianceParts:
    """
    :param keys: how many; ``repeated`` of them have two answers or more.
    :param within: mean variance of one key's answers; None where no key has two.
    :param between: variance of the keys, without what the repeats' own spread adds to it; 0 or more. None where ``within`` is.
    :param total: variance of the keys' means as they are; None for fewer than two keys.
    """

    keys: int
    repeated: int
    within: float | None
    between: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class RepeatMoments:
    """What is known of the answers of keys, chunk by chunk: add two of them to have both.

    :param means: moments of the keys' means; ``variances`` the sum of the variances of the keys with two answers or more, and
        ``inverses`` the sum of 1 / answers over all keys.
    """

    means: Moments = field(default_factory=Moments)
    repeated: int = 0
    variances: float = 0.0
    inverses: float = 0.0

    @classmethod
    def of(cls, means: Any, variances: Any, repeats: Any) -> RepeatMoments:
        """:param means, variances, repeats: for each key, of its answers; variances with n - 1, ignored for keys with one."""
        counts = finite(repeats)
        if (counts < 1).any():
            raise InputError(f"A key has {counts.min():g} repeats; expected 1 or more.")
        several = counts > 1
        spread = finite(np.asarray(variances, dtype=float)[several])
        return cls(Moments.of(means), int(several.sum()), float(spread.sum()), float((1 / counts).sum()))

    def __add__(self, other: RepeatMoments) -> RepeatMoments:
        return RepeatMoments(
            self.means + other.means,
            self.repeated + other.repeated,
            self.variances + other.variances,
            self.inverses + other.inverses,
        )

    @property
    def within(self) -> float | None:
        return self.variances / self.repeated if self.repeated else None

    @property
    def noise(self) -> float | None:
        """What the repeats' spread adds to the variance of the keys' means: ``within / k`` where each key has k answers."""
        return None if self.within is None else self.within * self.inverses / self.means.n


def variance_parts(answers: RepeatMoments) -> VarianceParts:
    """Of one run."""
    return _parts(answers.means, answers.repeated, answers.within, answers.noise)


def difference_parts(differences: Moments, baseline: RepeatMoments, candidate: RepeatMoments) -> VarianceParts:
    """Of the differences of two runs: ``within`` is that of both sides together, which ``rows_needed`` takes.

    :param differences: of the keys' means; all three are of the keys that both runs have.
    """
    sides = (baseline.within, candidate.within)
    noises = (baseline.noise, candidate.noise)
    within = None if None in sides else sum(one for one in sides if one is not None)
    noise = None if None in noises else sum(one for one in noises if one is not None)
    return _parts(differences, min(baseline.repeated, candidate.repeated), within, noise)


def _parts(means: Moments, repeated: int, within: float | None, noise: float | None) -> VarianceParts:
    total = means.variance
    between = None if noise is None or total is None else max(0.0, total - noise)
    return VarianceParts(means.n, repeated, within, between, total)
