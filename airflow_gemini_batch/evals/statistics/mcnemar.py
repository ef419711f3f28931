"""McNemar's test: of the keys that only one run answered rightly, does one run have more than chance gives it?"""

from __future__ import annotations

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.quantiles import even_binomial_cdf, even_binomial_pmf


def mcnemar_exact(improved: int, regressed: int) -> float:
    """Two-sided p of the exact conditional test; 1.0 without keys that differ. It is conservative: use mid-p unless you must not.

    :param improved, regressed: keys that only the candidate, and only the baseline, answered rightly.
    """
    fewer, both = _counts(improved, regressed)
    return 1.0 if 2 * fewer == both else min(1.0, 2 * even_binomial_cdf(fewer, both))


def mcnemar_midp(improved: int, regressed: int) -> float:
    """Two-sided mid-p (Fagerland, Lydersen and Laake 2013): half the probability of what was seen; 1.0 if both are equal."""
    fewer, both = _counts(improved, regressed)
    return 1.0 if 2 * fewer == both else mcnemar_exact(improved, regressed) - even_binomial_pmf(fewer, both)


def _counts(improved: int, regressed: int) -> tuple[int, int]:
    if min(improved, regressed) < 0:
        raise InputError(f"Counts of keys are {improved} and {regressed}; expected whole numbers from 0.")
    return int(min(improved, regressed)), int(improved + regressed)
