"""How far a judge and people agree about the same answers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.quantiles import check_share

#: Resamples of kappa's interval, and the counts that are held at a time.
_RESAMPLES, _CHUNK = 9999, 4_000_000


@dataclass(frozen=True)
class Agreement:
    """Of a judge with human labels. Read ``percent`` and ``table`` too: 90 % agreement can have a kappa below 0 when nearly all
    labels are equal.

    :param n: pairs with both labels; ``unlabelled`` pairs lack one and are left out.
    :param percent: share of the pairs with equal labels, from 0 to 100; None without pairs.
    :param kappa: Cohen's; None ("undefined") when all labels of both sides are equal, or without pairs.
    :param low, high: percentile bootstrap interval of kappa at ``level``; None where kappa is.
    :param labels: all labels that occur, sorted; ``table[i][j]`` counts the pairs with the judge's ``labels[i]`` and the human
        ``labels[j]``.
    """

    n: int
    unlabelled: int
    percent: float | None
    kappa: float | None
    low: float | None
    high: float | None
    level: float
    labels: tuple[Any, ...]
    table: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        if self.percent is None:
            return "no pairs with both labels"
        kappa = "undefined (all labels are equal)" if self.kappa is None else f"{self.kappa:.2f}"
        between = "" if self.low is None else f" ({self.low:.2f} to {self.high:.2f})"
        return f"{self.percent:.1f} % of {self.n:,} pairs agree, kappa {kappa}{between}"


def agreement(judge: Iterable[Any], human: Iterable[Any], *, level: float = 0.95, seed: int = 0) -> Agreement:
    """Percent, Cohen's kappa with an interval, and the confusion table.

    :param judge, human: the labels of the same answers in the same order: texts, numbers or bools. None and NaN mean no label.
    :param seed: of the bootstrap; the same seed gives the same interval.

    Raises InputError if one side has more labels than the other, or labels cannot be compared.
    """
    check_share("level", level)
    first, second = list(judge), list(human)
    if len(first) != len(second):
        raise InputError(f"The judge has {len(first):,} labels and people {len(second):,}; give both for the same answers.")
    pairs = [(_plain(one), _plain(other)) for one, other in zip(first, second, strict=True)]
    known = [pair for pair in pairs if pair[0] is not None and pair[1] is not None]
    labels = _sorted({label for pair in known for label in pair})
    places = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, tuple(np.array([[places[label] for label in pair] for pair in known], np.int64).reshape(-1, 2).T), 1)
    percent = 100 * int(np.trace(counts)) / len(known) if known else None
    kappa = _kappas(counts[None])[0] if known else np.nan
    low, high = (None, None) if np.isnan(kappa) else _interval(counts, level, seed)
    return Agreement(
        len(known),
        len(pairs) - len(known),
        percent,
        None if np.isnan(kappa) else float(kappa),
        low,
        high,
        level,
        tuple(labels),
        tuple(tuple(row) for row in counts.tolist()),
    )


def _plain(label: Any) -> Any:
    """A label of numpy as Python's own; None for what is no label."""
    label = label.item() if isinstance(label, np.generic) else label
    if label is None or (isinstance(label, float) and label != label):
        return None
    if not isinstance(label, Hashable):
        raise InputError(f"A label is a {type(label).__name__}; expected a text, a number or a bool.")
    return label


def _sorted(labels: set[Any]) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError:
        return sorted(labels, key=lambda label: (type(label).__name__, str(label)))


def _kappas(tables: Any) -> Any:
    """Cohen's kappa of each table of counts; NaN where it is 0 / 0."""
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    seen = np.trace(shares, axis1=1, axis2=2)
    chance = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance < 1 - 1e-15, (seen - chance) / (1 - chance), np.nan)


def _interval(counts: Any, level: float, seed: int) -> tuple[float, float]:
    dice = np.random.default_rng(seed)
    shares = counts.ravel() / counts.sum()
    rows = max(1, _CHUNK // counts.size)
    kappas: list[Any] = []
    for start in range(0, _RESAMPLES, rows):
        drawn = dice.multinomial(counts.sum(), shares, size=min(rows, _RESAMPLES - start))
        kappas.append(_kappas(drawn.reshape(-1, *counts.shape)))
    low, high = np.nanquantile(np.concatenate(kappas), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
