"""Costs, tokens and times of both runs: totals, and the ratio of each key's amounts on logarithms."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_gemini_batch.evals.comparing.pairing import Pairs
from airflow_gemini_batch.evals.comparing.sides import AMOUNTS, Side
from airflow_gemini_batch.evals.comparison import AmountComparison, ComparedRun
from airflow_gemini_batch.evals.statistics.ratios import RatioTally


@dataclass
class _Pair:
    """One amount: the sums over the keys whose ratio is counted."""

    ratios: RatioTally = field(default_factory=RatioTally)
    n: int = 0
    baseline: float = 0.0
    candidate: float = 0.0


class AmountTally:
    """Counted while the pairs go by. A key that was billed on one side only, as where an answer was reused, has no ratio."""

    def __init__(self) -> None:
        self._pairs = {name: _Pair() for name in AMOUNTS}

    def add(self, pairs: Pairs) -> None:
        for name, pair in self._pairs.items():
            first, second = pairs.baseline.amounts[name], pairs.candidate.amounts[name]
            both = (first > 0) & (second > 0)  # not where one is NaN
            pair.ratios.add(first[both], second[both])
            pair.n += int(both.sum())
            pair.baseline += float(first[both].sum())
            pair.candidate += float(second[both].sum())

    def comparisons(
        self, baseline: Side, candidate: Side, runs: tuple[ComparedRun, ComparedRun], level: float
    ) -> tuple[AmountComparison, ...]:
        """:param runs: both sides as they are described, for their times."""
        found = []
        for name, pair in self._pairs.items():
            ratio = pair.ratios.ratio(level=level)
            found.append(
                AmountComparison(
                    name=name,
                    baseline_total=_total(baseline, name),
                    candidate_total=_total(candidate, name),
                    n=pair.n,
                    baseline_mean=pair.baseline / pair.n if pair.n else None,
                    candidate_mean=pair.candidate / pair.n if pair.n else None,
                    ratio=ratio.ratio,
                    ci=None if ratio.low is None or ratio.high is None else (ratio.low, ratio.high),
                    p=ratio.p,
                    note=ratio.note,
                )
            )
        seconds = [run.seconds for run in runs]
        return (*found, AmountComparison("seconds", seconds[0], seconds[1], note="one time for each run; rows have none"))


def _total(side: Side, name: str) -> float | None:
    total, known = side.totals.get(name, (0.0, 0))
    return total if known else None
