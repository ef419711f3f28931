"""How many rows show a difference, and which difference these rows could have shown."""

from __future__ import annotations

import math

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.quantiles import check_share, quantile

#: Shares of keys whose answers differ in rightness, to be shown where none is known yet.
PLANNING_SHARES = (0.05, 0.10, 0.20)


def rows_needed(
    delta: float,
    disc: float | None = None,
    sd: float | None = None,
    power: float = 0.8,
    *,
    level: float = 0.95,
    exact: bool = False,
    within: float | None = None,
    between: float | None = None,
    repeats: int = 1,
) -> int:
    """How many keys both runs need, so that a true difference is shown.

    Give one of ``disc``, ``sd``, or ``between`` and ``within``. All are printed by a comparison; take them from the last one.

    :param delta: the true difference, in units of the score: 0.03 is three points of accuracy. Its sign does not matter.
    :param disc: for booleans, the share of keys that only one of the two runs answers rightly.
    :param sd: for floats, the standard deviation of the differences.
    :param power: how often it is shown; default 0.8.
    :param level: of the two-sided interval; default 0.95.
    :param exact: for booleans, whether the test will be McNemar's exact one, which needs more.
    :param within, between: variances of the difference: that of one key's repeats (of both runs together), and that of the keys.
    :param repeats: answers to each key in each run; only with ``between`` and ``within``.

    Raises InputError for a delta of 0 or values out of range, and where none of the spreads is given.
    """
    if isinstance(delta, bool) or not isinstance(delta, (int, float)) or not math.isfinite(delta) or delta == 0:
        raise InputError(f"delta is {delta!r}; expected the difference that is to be shown, for example 0.03.")
    size = abs(float(delta))
    given = [name for name, value in (("disc", disc), ("sd", sd), ("between", between)) if value is not None]
    if len(given) != 1:
        raise InputError(f"rows_needed has {' and '.join(given) or 'no spread'}; give one of disc, sd, or between with within.")
    if (within is None) != (between is None) or (repeats != 1 and between is None):
        raise InputError("rows_needed has repeats, within or between alone; give between and within together, with repeats.")
    factor = (quantile((1 + check_share("level", level)) / 2) + quantile(check_share("power", power))) ** 2
    if disc is not None:
        rows = factor * (_share(disc, size) - size**2) / size**2
        return max(2, math.ceil(rows + (2 / size if exact else 0)))
    if exact:
        raise InputError("exact is McNemar's test, which is for booleans; give disc, or leave exact out.")
    return max(2, math.ceil(factor * _variance(sd, within, between, repeats) / size**2) + 2)


def minimum_detectable_effect(stderr: float, *, power: float = 0.8, level: float = 0.95) -> float:
    """The true difference that a comparison with this standard error shows in 80 % of all cases: 2.80 times it."""
    return (quantile((1 + check_share("level", level)) / 2) + quantile(check_share("power", power))) * stderr


def _share(disc: float, size: float) -> float:
    if not 0 < disc <= 1 or disc < size:
        raise InputError(
            f"disc is {disc}; expected a share from delta ({size}) to 1: keys that only one of the runs answers rightly."
        )
    return disc


def _variance(sd: float | None, within: float | None, between: float | None, repeats: int) -> float:
    if sd is not None:
        if not (math.isfinite(sd) and sd > 0):
            raise InputError(f"sd is {sd}; expected a number above 0: the standard deviation of the differences.")
        return sd**2
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise InputError(f"repeats is {repeats!r}; expected a whole number from 1.")
    assert within is not None
    assert between is not None
    if not (math.isfinite(within) and math.isfinite(between) and min(within, between) >= 0 and within + between > 0):
        raise InputError(f"within and between are {within} and {between}; expected variances from 0, not both 0.")
    return between + within / repeats
