"""May the candidate replace the baseline? A one-sided bound against a margin, with three verdicts.

A threshold on the mean is a coin flip at the margin, with any number of rows; a bound promises how often it errs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.differences import Difference
from airflow_gemini_batch.evals.statistics.quantiles import check_share, quantile

Verdict = Literal["pass", "fail", "undecided"]
Better = Literal["higher", "lower"]

#: Of a gate whose runs are truly equal to pass, in the rows that an undecided one asks for.
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Gate:
    """
    :param margin: the loss that is accepted, in units of the score; from 0.
    :param low, high: the one-sided bounds of the difference, each at ``level``; None where there are none.
    :param verdict: "pass": the loss is smaller than the margin; "fail": it is larger; "undecided": the bounds lie on both sides.
    :param rows_needed: when undecided, the rows with which runs that are truly equal pass in 80 % of all comparisons. None for a
        margin of 0, which no number of rows shows for equal runs, and where nothing is known of the spread.
    """

    margin: float
    low: float | None
    high: float | None
    verdict: Verdict
    rows_needed: int | None
    level: float = 0.95
    better: Better = "higher"


def better_of(worst: float | None, best: float | None) -> Better:
    """Which direction a scorer calls better; higher where it does not say."""
    return "lower" if worst is not None and best is not None and best < worst else "higher"


def gate(difference: Difference, margin: float, *, better: Better = "higher", level: float = 0.95) -> Gate:
    """:param margin: a loss of less than this is accepted. With "lower" as ``better``, a rise is the loss.

    Raises InputError for a margin that is negative or not finite.
    """
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not (math.isfinite(margin) and margin >= 0):
        raise InputError(f"margin is {margin!r}; expected a number from 0: the loss that you accept, for example 0.02.")
    bounds = difference.bounds(level)
    if bounds is None:
        return Gate(float(margin), None, None, "undecided", None, level, better)
    low, high = bounds
    least_gain, most_gain = (low, high) if better == "higher" else (-high, -low)
    verdict: Verdict = "pass" if least_gain > -margin else "fail" if most_gain < -margin else "undecided"
    needed = gate_rows(_spread(difference), margin, level=level) if verdict == "undecided" else None
    return Gate(float(margin), low, high, verdict, needed, level, better)


def gate_rows(variance: float, margin: float, *, level: float = 0.95, power: float = _POWER) -> int | None:
    """Rows with which runs that are truly equal pass: ``(z + z') ** 2 * variance / margin ** 2``. None where no number is enough.

    :param variance: of the differences; of booleans without repeats the share of keys whose answers differ in rightness.
    """
    if margin**2 == 0 or variance <= 0:
        return None
    factor = quantile(check_share("level", level)) + quantile(check_share("power", power))
    return math.ceil(factor**2 * variance / margin**2)


def _spread(difference: Difference) -> float:
    """Variance of one row's difference; with clusters, what a row contributes to it beside its kin."""
    if difference.method == "agresti-min" and difference.improved + difference.regressed:
        return (difference.improved + difference.regressed) / difference.n
    return difference.n * (difference.stderr or 0.0) ** 2
