"""Quantiles and tails of the distributions that are used: the only module here that imports SciPy."""

from __future__ import annotations

import math
from typing import Any

from airflow_gemini_batch.engine.errors import InputError

#: Tosses whose probabilities are divided as whole numbers. With more, logarithms are as good to ten digits.
_EXACT = 1000


def special_functions() -> Any:
    """``scipy.special``, which loads in a fifth of the time of ``scipy.stats``. Raises InputError where SciPy is missing."""
    try:
        from scipy import special
    except ImportError as error:
        raise InputError("SciPy is not installed; comparisons need it: pip install 'airflow-gemini-batch[evals]'.") from error
    return special


def check_share(name: str, value: float) -> float:
    """A level, a power or another share: between 0 and 1, both excluded. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise InputError(f"{name} is {value!r}; expected a number between 0 and 1, for example 0.95.")
    return float(value)


def quantile(share: float, degrees: int | None = None) -> float:
    """Of Student's t, or of the normal distribution where there are no degrees of freedom."""
    special = special_functions()
    return float(special.ndtri(share) if degrees is None else special.stdtrit(degrees, share))


def two_sided_p(statistic: float, degrees: int | None = None) -> float:
    """Of a value of Student's t, or of the normal distribution."""
    special = special_functions()
    below = special.ndtr(-abs(statistic)) if degrees is None else special.stdtr(degrees, -abs(statistic))
    return min(1.0, 2 * float(below))


def even_binomial_cdf(k: int, n: int) -> float:
    """Probability of at most k heads among n tosses of a fair coin."""
    return float(special_functions().bdtr(float(k), n, 0.5))


def even_binomial_pmf(k: int, n: int) -> float:
    """Probability of exactly k heads among n tosses of a fair coin."""
    if n <= _EXACT:
        return float(math.comb(n, k) / 2**n)
    return math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
