"""The comparison of two runs, written once more with pandas: everything in memory, one formula after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar


@dataclass
class Row:
    """A row of a run.

    :param scores: by scorer: a number, or the status of a row without one.
    :param reason: of a dead letter, which has nothing else; None: it is answered.
    """

    key: str
    repeat: int
    reason: str | None = None
    scores: dict[str, float | str] = field(default_factory=dict)
    cost: float | None = None
    cluster: str | None = None


def means(rows: list[Row], scorer: str) -> pd.DataFrame:
    """By key: ``mean`` (NaN without scores), ``n``, ``sd``, ``could`` (rows that could have one), ``unlabelled``."""
    frame = pd.DataFrame(
        [
            {
                "key": row.key,
                "score": row.scores.get(scorer) if isinstance(row.scores.get(scorer), float) else np.nan,
                "unlabelled": row.scores.get(scorer) == "unlabelled",
            }
            for row in rows
        ],
        columns=["key", "score", "unlabelled"],
    )
    grouped = frame.groupby("key")
    found = grouped["score"].agg(["mean", "count", "std"]).rename(columns={"count": "n", "std": "sd"})
    found["unlabelled"] = grouped["unlabelled"].sum()
    found["could"] = grouped.size() - found["unlabelled"]
    return found.astype(float)


def why(rows: list[Row], key: str, scorer: str) -> str | None:
    """Why a key has no score; None where it has one."""
    own = sorted((row for row in rows if row.key == key), key=lambda row: row.repeat)
    if any(isinstance(row.scores.get(scorer), float) for row in own):
        return None
    if not own:
        return "absent"
    if all(row.reason is not None for row in own):
        return own[0].reason
    said = {"missing" if row.reason is not None else str(row.scores[scorer]) for row in own}
    return next(status for status in ("unlabelled", "error", "missing") if status in said)


def answers(rows: list[Row]) -> tuple[set[str], dict[str, str]]:
    """The keys that have an answer, and the reason of each other key of the run."""
    answered = {row.key for row in rows if row.reason is None}
    first = {row.key: row.reason or "" for row in sorted(rows, key=lambda row: -row.repeat)}
    return answered, {key: reason for key, reason in first.items() if key not in answered}


@dataclass
class Found:
    pairs: pd.DataFrame
    difference: float | None
    ci: tuple[float, float] | None
    p: float | None
    bounds: tuple[float, float, float] | None


def compared(
    baseline: list[Row], candidate: list[Row], scorer: str, *, boolean: bool, averaged: bool, clustered: bool, level: float
) -> Found:
    """:param boolean: with 0 and 1 as worst and best; a scorer of floats has none."""
    sides = [means(rows, scorer).add_suffix(end) for rows, end in ((baseline, "_b"), (candidate, "_c"))]
    both = sides[0].join(sides[1], how="outer")
    both["difference"] = both["mean_c"] - both["mean_b"]
    paired = both.dropna(subset=["mean_b", "mean_c"])
    d = paired["difference"].to_numpy()
    d = np.where(np.abs(d) < 1e-12, 0.0, d)
    ids = clusters_of(baseline, candidate)
    interval, p = None, None
    if boolean and not averaged and not clustered and len(d):
        interval, p = agresti_min(d, level)
    elif len(d) > 1 and np.ptp(d) > 1e-9:
        interval, p = clustered_t(d, [ids[key] for key in paired.index], level) if clustered else student(d, level)
    if boolean and interval is not None:
        interval = (max(-1.0, interval[0]), min(1.0, interval[1]))
    return Found(both, float(d.mean()) if len(d) else None, interval, p, _bounds(both) if boolean else None)


def clusters_of(*runs: list[Row]) -> dict[str, str | None]:
    """The first run that has a key says its cluster."""
    return {row.key: row.cluster for rows in reversed(runs) for row in reversed(rows)}


def _bounds(both: pd.DataFrame) -> tuple[float, float, float] | None:
    here = both[both["could_b"].notna() & both["could_c"].notna()]
    labelled = (here["n_b"] > 0) | (here["n_c"] > 0) | (here["unlabelled_b"] + here["unlabelled_c"] == 0)
    here = here[labelled]
    if not len(here):
        return None

    def filled(side: str, value: float) -> Any:
        could = np.maximum(here[f"could_{side}"], here[f"n_{side}"])
        scored = here[f"mean_{side}"].fillna(0) * here[f"n_{side}"]
        return np.where(here[f"n_{side}"] == 0, value, (scored + value * (could - here[f"n_{side}"])) / np.maximum(could, 1))

    low, high, worst = ((filled("c", c) - filled("b", b)).mean() for c, b in ((0, 1), (1, 0), (0, 0)))
    return float(low), float(high), float(worst)


def student(d: Any, level: float) -> tuple[tuple[float, float], float]:
    low, high = stats.t.interval(level, len(d) - 1, d.mean(), stats.sem(d))
    return (float(low), float(high)), float(stats.ttest_1samp(d, 0).pvalue)


def clustered_t(d: Any, ids: list[Any], level: float) -> tuple[tuple[float, float], float]:
    """Ordinary least squares on a constant, with CR1 errors but for the factor of the constant's own degree of freedom."""
    codes = pd.factorize(pd.Series(ids))[0]
    groups = codes.max() + 1
    fitted = sm.OLS(d, np.ones(len(d))).fit(cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False})
    error = float(fitted.bse[0]) * np.sqrt(groups / (groups - 1))
    low, high = stats.t.interval(level, groups - 1, d.mean(), error)
    return (float(low), float(high)), float(2 * stats.t.sf(abs(d.mean() / error), groups - 1))


def agresti_min(d: Any, level: float) -> tuple[tuple[float, float], float]:
    n, b, c = len(d) + 2, (d > 0).sum() + 0.5, (d < 0).sum() + 0.5
    width = stats.norm.ppf((1 + level) / 2) * np.sqrt(b + c - (b - c) ** 2 / n) / n
    low, high = max(-1.0, (b - c) / n - width), min(1.0, (b - c) / n + width)
    improved, regressed = int((d > 0).sum()), int((d < 0).sum())
    exact = mcnemar([[0, improved], [regressed, 0]], exact=True).pvalue if improved + regressed else 1.0
    changed = improved + regressed
    p = 1.0 if improved == regressed else exact - stats.binom.pmf(min(improved, regressed), changed, 0.5)
    return (float(low), float(high)), float(p)
