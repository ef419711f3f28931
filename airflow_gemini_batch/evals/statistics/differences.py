"""The difference between two runs, with an interval: one number for each key, candidate minus baseline.

One method makes the interval, the verdict ("shown" or not) and the bounds of the gate. The p-value of booleans is that of another
method; where the two disagree, near the level, ``borderline`` says so and the interval decides.

What must not be relaxed: a difference that never varies has no interval of width zero. Runs that are equal on 30 keys may differ
on the 31st.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.scorers import Kind
from airflow_gemini_batch.evals.statistics.mcnemar import mcnemar_midp
from airflow_gemini_batch.evals.statistics.quantiles import check_share, quantile, two_sided_p
from airflow_gemini_batch.evals.statistics.tally import Tally

#: "none": fewer than two keys. "constant": all differences are equal; the interval is what so many equal keys leave possible.
Method = Literal["t", "agresti-min", "clustered-t", "constant", "none"]
Test = Literal["t", "mcnemar-midp", "sign-flip", "none"]

#: The t interval of fewer clusters means nothing (refused), or covers less than it says (warned): docs/statistics.md.
FEWEST_CLUSTERS, _FEW_CLUSTERS = 5, 20

#: With fewer rows and such a skewness, a nominal 95 % interval covers 83 to 89 %. Of 30 rows, 97 % of those of a lognormal
#: distribution with sigma 1.25 are as skewed, and 2 % of normal ones.
MANY_ROWS, LARGE_SKEWNESS = 100, 1.0

#: A standard error below this share of the largest difference is what floats leave over of equal differences.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus baseline over the keys that both have.

    :param n: keys; ``clusters`` of them where clusters were given.
    :param mean: None without keys.
    :param stderr: of the method: Agresti-Min's is that of its adjusted counts. None for too few keys; 0 where all are equal.
    :param low, high: the interval, at ``level``; None where there is none.
    :param degrees: of freedom; None for the normal distribution.
    :param p: two-sided, of ``test``; None where there is none.
    :param improved, regressed: keys whose difference is above and below 0.
    :param centre: the middle of the interval before it is cut off at ``span``.
    :param span: the largest difference that a key can have: best minus worst. None: unknown.
    :param warnings: what weakens the interval, in words.
    """

    n: int
    mean: float | None
    stderr: float | None
    low: float | None
    high: float | None
    degrees: int | None
    method: Method
    p: float | None
    test: Test
    improved: int
    regressed: int
    level: float
    clusters: int | None = None
    centre: float | None = None
    span: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def same(self) -> int:
        """Keys without a difference."""
        return self.n - self.improved - self.regressed

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def borderline(self) -> bool:
        """Whether p and interval are on different sides of the level."""
        return self.p is not None and self.low is not None and (self.p < 1 - self.level) != self.shown

    def bounds(self, level: float) -> tuple[float, float] | None:
        """Two one-sided bounds, each at this level: the interval at 2 * level - 1, by the same method. None without one."""
        if check_share("level", level) <= 0.5:
            raise InputError(f"The level of a one-sided bound is {level}; expected more than 0.5, for example 0.95.")
        return _ends(self, level)


def paired_difference(
    differences: Any,
    *,
    kind: Kind,
    averaged: bool = False,
    clusters: Iterable[Any] | None = None,
    level: float = 0.95,
    span: float | None = None,
) -> Difference:
    """The mean of one difference for each key, with interval and p-value. For many keys fill a ``Tally`` for ``difference_of``.

    :param differences: candidate minus baseline, of scores or of means over a key's repeats.
    :param kind: of the scorer, as declared: a scorer of floats may happen to give only 0 and 1.
    :param averaged: whether differences are of means over several repeats.
    :param clusters: for each key the id of a group whose keys depend on each other (a document, a user).
    :param span: best minus worst of a scorer of floats, where known; booleans have 1.

    Raises InputError for a number that is not finite, booleans other than -1, 0 and 1, a null cluster, and fewer than 5 clusters.
    """
    return difference_of(Tally.of(differences, clusters), kind=kind, averaged=averaged, level=level, span=span)


def difference_of(
    tally: Tally, *, kind: Kind, averaged: bool = False, level: float = 0.95, span: float | None = None
) -> Difference:
    """``paired_difference`` of differences that were read chunk by chunk."""
    check_share("level", level)
    if kind not in ("boolean", "float"):
        raise InputError(f"kind is {kind!r}; expected 'boolean' or 'float'.")
    if kind == "boolean":
        span = 1.0
        _check_booleans(tally, averaged)
    elif span is not None and not (math.isfinite(span) and span != 0):
        raise InputError(f"span is {span}; expected best minus worst, or None where they are unknown.")
    span = None if span is None else abs(span)
    if tally.clusters is not None and tally.n and tally.clusters < FEWEST_CLUSTERS:
        raise InputError(f"There are {tally.clusters} clusters; an interval needs {FEWEST_CLUSTERS} or more. Compare without.")
    if kind == "boolean" and not averaged and tally.clusters is None and tally.n:
        return _agresti_min(tally, level)
    if tally.n < 2:
        return _without_interval(tally, level, span)
    if tally.moments.constant:
        return _constant(tally, level, span)
    return _student(tally, level, span)


def _check_booleans(tally: Tally, averaged: bool) -> None:
    if not averaged and tally.fractions:
        raise InputError(
            "A boolean scorer without repeats has differences of -1, 0 and 1; found another. Give averaged=True, or kind='float'."
        )
    if max(-tally.moments.least, tally.moments.most) > 1 + 1e-9:
        raise InputError(
            f"Differences of booleans are -1 to 1; found {tally.moments.least} to {tally.moments.most}. Give kind='float'."
        )


def _agresti_min(tally: Tally, level: float) -> Difference:
    """Half a pair is added to each of the four cells (Agresti and Min 2005)."""
    n = tally.n + 2
    centre = (tally.positive - tally.negative) / n
    stderr = math.sqrt((tally.positive + tally.negative + 1) - centre**2 * n) / n
    p = mcnemar_midp(tally.positive, tally.negative)
    mean = (tally.positive - tally.negative) / tally.n
    return _described(tally, level, 1.0, method="agresti-min", mean=mean, stderr=stderr, p=p, test="mcnemar-midp", centre=centre)


def _student(tally: Tally, level: float, span: float | None) -> Difference:
    mean, n = tally.moments.mean, tally.n
    warnings: list[str] = []
    method: Method = "t"
    if tally.clusters is None:
        stderr, degrees = math.sqrt((tally.moments.variance or 0.0) / n), n - 1
    else:
        groups, residuals = tally.clusters, tally.cluster_residuals()
        stderr = math.sqrt(groups / (groups - 1) * float(residuals @ residuals)) / n
        degrees, method = groups - 1, "clustered-t"
        if groups < _FEW_CLUSTERS:
            warnings.append(f"There are {groups} clusters; with fewer than {_FEW_CLUSTERS} the interval may be too narrow.")
    if stderr <= _ROUNDING * max(abs(tally.moments.least), abs(tally.moments.most)):
        return _constant(tally, level, span)
    if n < MANY_ROWS and abs(tally.moments.skewness) > LARGE_SKEWNESS:
        warnings.append(
            f"The differences are skewed; with {n} keys, fewer than {MANY_ROWS}, the interval covers less than it says."
        )
    p = two_sided_p(mean / stderr, degrees)
    return _described(
        tally, level, span, method=method, mean=mean, stderr=stderr, degrees=degrees, p=p, test="t", warnings=tuple(warnings)
    )


def _constant(tally: Tally, level: float, span: float | None) -> Difference:
    units, which = (tally.n, "keys") if tally.clusters is None else (tally.clusters, "clusters")
    mean = tally.moments.least if tally.moments.constant else tally.moments.mean
    warnings: tuple[str, ...] = (f"All {units:,} {which} have the same difference.",)
    if span is None:
        warnings += ("There is no interval without the scorer's worst and best.",)
    p = 1.0 if mean == 0 else 2.0 ** (1 - units)
    return _described(tally, level, span, method="constant", mean=mean, stderr=0.0, p=p, test="sign-flip", warnings=warnings)


def _without_interval(tally: Tally, level: float, span: float | None) -> Difference:
    warnings = (f"An interval needs two keys that are in both runs; there are {tally.n}.",)
    return _described(tally, level, span, method="none", mean=tally.moments.mean if tally.n else None, warnings=warnings)


def _described(
    tally: Tally,
    level: float,
    span: float | None,
    *,
    method: Method,
    mean: float | None,
    stderr: float | None = None,
    degrees: int | None = None,
    p: float | None = None,
    test: Test = "none",
    centre: float | None = None,
    warnings: tuple[str, ...] = (),
) -> Difference:
    difference = Difference(
        n=tally.n,
        mean=mean,
        stderr=stderr,
        low=None,
        high=None,
        degrees=degrees,
        method=method,
        p=p,
        test=test,
        improved=tally.positive,
        regressed=tally.negative,
        level=level,
        clusters=tally.clusters,
        centre=mean if centre is None else centre,
        span=span,
        warnings=warnings,
    )
    low, high = _ends(difference, (1 + level) / 2) or (None, None)
    return replace(difference, low=low, high=high)


def _ends(difference: Difference, share: float) -> tuple[float, float] | None:
    """The ends that leave 1 - share on either side."""
    centre, stderr, span = difference.centre, difference.stderr, difference.span
    if difference.method == "constant":
        return _ends_of_constant(difference, share)
    if centre is None or stderr is None:
        return None
    width = quantile(share, difference.degrees) * stderr
    low, high = centre - width, centre + width
    return (low, high) if span is None else (max(-span, low), min(span, high))


def unseen_share(units: int, share: float) -> float:
    """With this confidence fewer than ``1 - (1 - share) ** (1 / units)`` of all keys are unlike these, which are all equal.

    It is the exact bound of a binomial share of which nothing was seen.
    """
    return -math.expm1(math.log1p(-share) / units)


def _ends_of_constant(difference: Difference, share: float) -> tuple[float, float] | None:
    """At worst, all keys that are not like those seen differ from them by the whole span."""
    if difference.span is None or difference.mean is None:
        return None
    unseen = unseen_share(difference.clusters or difference.n, share)
    mean, span = difference.mean, difference.span
    return mean - unseen * (mean + span), mean + unseen * (span - mean)
