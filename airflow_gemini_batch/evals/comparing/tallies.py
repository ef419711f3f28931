"""What one scorer says of a pair of runs, tallied while the pairs go by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.comparing.pairing import Keys, Pairs, ScoredKeys
from airflow_gemini_batch.evals.comparison import Side
from airflow_gemini_batch.evals.scorers import Kind
from airflow_gemini_batch.evals.scores import ScorerTotals
from airflow_gemini_batch.evals.statistics.differences import FEWEST_CLUSTERS, Difference, difference_of
from airflow_gemini_batch.evals.statistics.gates import Better, better_of
from airflow_gemini_batch.evals.statistics.means import MeanInterval, mean_of
from airflow_gemini_batch.evals.statistics.missing import MissingBounds, MissingTally
from airflow_gemini_batch.evals.statistics.tally import Tally
from airflow_gemini_batch.evals.statistics.variances import RepeatMoments, VarianceParts, difference_parts

SideName = Literal["baseline", "candidate"]
SIDES: tuple[SideName, SideName] = ("baseline", "candidate")


@dataclass(frozen=True)
class Compared:
    """A scorer that both runs have.

    :param averaged: whether keys have several answers in either run, so that scores are means.
    """

    name: str
    kind: Kind
    worst: float | None
    best: float | None
    averaged: bool

    @classmethod
    def of(cls, first: ScorerTotals, second: ScorerTotals, *, averaged: bool) -> Compared:
        """Raises InputError where the two were scored with different bounds."""
        kind: Kind = "float" if "float" in (first.kind, second.kind) else "boolean"
        bounds = [None if one.kind == "boolean" != kind else (one.worst, one.best) for one in (first, second)]
        known = [one for one in bounds if one is not None]
        if len(set(known)) > 1:
            raise InputError(
                f"The scorer {first.name!r} has worst and best {known[0]} in the baseline and {known[1]} in the candidate. "
                "Score both runs with the same scorer."
            )
        return cls(first.name, kind, *known[0], averaged=averaged)

    @property
    def better(self) -> Better:
        return better_of(self.worst, self.best)

    @property
    def span(self) -> float | None:
        return None if self.worst is None or self.best is None else abs(self.best - self.worst)


@dataclass
class ScorerTally:
    """
    :param number: of the scorer among those of the pairs.
    :param most_repeats: how often a key was asked at most.
    :param keeps: whether the differences are kept, to draw from them.
    :param missing: by side, keys without a score by the code of why.
    """

    scorer: Compared
    number: int
    clustered: bool
    most_repeats: int = 1
    keeps: bool = False
    kept: list[Any] = field(default_factory=list)
    differences: Tally = field(init=False)
    sides: tuple[Tally, Tally] = field(init=False)
    repeats: tuple[RepeatMoments, RepeatMoments] = field(init=False)
    missing: dict[SideName, Counter[int]] = field(init=False)
    bounds: MissingTally | None = field(init=False)

    def __post_init__(self) -> None:
        self.differences = Tally(clustered=self.clustered, coded=True)
        self.sides = (Tally(clustered=self.clustered, coded=True), Tally(clustered=self.clustered, coded=True))
        self.repeats = (RepeatMoments(), RepeatMoments())
        self.missing = {side: Counter() for side in SIDES}
        worst, best = self.scorer.worst, self.scorer.best
        self.bounds = None if worst is None or best is None else MissingTally(worst, best, clustered=self.clustered, coded=True)

    def add(self, pairs: Pairs, clusters: Any) -> None:
        """:param clusters: for each key the number of its cluster, from 0; None without clusters."""
        first, second = (keys.scored[self.number] for keys in (pairs.baseline, pairs.candidate))
        paired = (first.n > 0) & (second.n > 0)
        differences = second.mean[paired] - first.mean[paired]
        self.differences.add(differences, _of(clusters, paired))
        if self.keeps:
            self.kept.append(differences)
        for tally, side in zip(self.sides, (first, second), strict=True):
            tally.add(side.mean[side.n > 0], _of(clusters, side.n > 0))
        if self.scorer.averaged:
            moments = [RepeatMoments.of(side.mean[paired], side.variance[paired], side.n[paired]) for side in (first, second)]
            self.repeats = (self.repeats[0] + moments[0], self.repeats[1] + moments[1])
        for name, side in zip(SIDES, (first, second), strict=True):
            self.missing[name].update(side.code[side.code > 0].tolist())
        if self.bounds is not None:
            here = in_both_inputs(pairs.baseline, pairs.candidate) & ~_not_labelled(first, second)
            try:
                lost = (first.lost[here], second.lost[here])
                self.bounds.add(first.mean[here], second.mean[here], _of(clusters, here), lost=lost)
            except InputError as error:
                raise InputError(f"The scorer {self.scorer.name!r}: {error}") from error

    def difference(self, level: float) -> Difference:
        scorer = self.scorer
        return difference_of(self.differences, kind=scorer.kind, averaged=scorer.averaged, level=level, span=scorer.span)

    def side(self, number: int, level: float) -> Side:
        tally = self.sides[number]
        if _few_clusters(tally):
            return Side(tally.n, tally.moments.mean, None, None)
        found: MeanInterval = mean_of(tally, kind=self.scorer.kind, averaged=self.scorer.averaged, level=level)
        return Side(found.n, found.mean, found.stderr, _interval(found.low, found.high))

    def missing_bounds(self, level: float) -> MissingBounds | None:
        """None where the scorer's worst and best are not known, or too few clusters."""
        if self.bounds is None or _few_clusters(self.bounds.as_worst):
            return None
        return self.bounds.bounds(kind=self.scorer.kind, averaged=self.scorer.averaged, level=level)

    def variances(self) -> VarianceParts | None:
        """None without repeats."""
        return difference_parts(self.differences.moments, *self.repeats) if self.scorer.averaged else None


def in_both_inputs(baseline: Keys, candidate: Keys) -> Any:
    return (baseline.rows > 0) & (candidate.rows > 0)


def _not_labelled(first: ScoredKeys, second: ScoredKeys) -> Any:
    """Keys that have no expected value: no answer to them is right or wrong."""
    return (first.n == 0) & (second.n == 0) & (first.unlabelled + second.unlabelled > 0)


def _of(clusters: Any, chosen: Any) -> Any:
    return None if clusters is None else clusters[chosen]


def _interval(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _few_clusters(tally: Tally) -> bool:
    """Whether there is no interval, of keys that are not paired; too few clusters of paired keys are refused."""
    return tally.clusters is not None and 0 < tally.clusters < FEWEST_CLUSTERS
