"""The keys whose scores changed most: chosen while the pairs go by, and then looked up in the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.evals.comparing.pairing import Pairs
from airflow_gemini_batch.evals.comparing.partitions import hashes_of
from airflow_gemini_batch.evals.comparing.tallies import Compared
from airflow_gemini_batch.evals.statistics.tally import ROUNDING

Change = Literal["regressed", "improved"]

#: Of each change, over all scorers.
MOST_EXAMPLES = 50


@dataclass(frozen=True, slots=True)
class Chosen:
    """
    :param difference: candidate minus baseline, and ``baseline`` and ``candidate`` themselves.
    :param order: of equal changes: by a hash of the key, so that what is shown is drawn from all of them.
    """

    key: str
    scorer: str
    change: Change
    difference: float
    baseline: float
    candidate: float
    order: int


@dataclass
class ExampleTally:
    """One scorer."""

    scorer: Compared
    number: int
    _kept: dict[Change, list[Chosen]] = field(default_factory=lambda: {"regressed": [], "improved": []})

    def add(self, pairs: Pairs) -> None:
        first, second = pairs.baseline.scored[self.number].mean, pairs.candidate.scored[self.number].mean
        difference = second - first
        gain = difference if self.scorer.better == "higher" else -difference
        self._keep("regressed", -gain, pairs)
        self._keep("improved", gain, pairs)

    def _keep(self, change: Change, size: Any, pairs: Pairs) -> None:
        """The largest changes of a partition beside those of earlier ones."""
        at = np.flatnonzero(size > ROUNDING)  # not where one is NaN
        if len(at) > MOST_EXAMPLES:
            least = np.partition(size[at], len(at) - MOST_EXAMPLES)[len(at) - MOST_EXAMPLES]
            at = at[size[at] >= least]
        hashes = hashes_of(pairs.keys.take(columns.from_numpy(at)))
        first_ones = np.lexsort((hashes, -size[at]))[:MOST_EXAMPLES]
        at, hashes = at[first_ones], hashes[first_ones]
        keys = pairs.keys.take(columns.from_numpy(at)).to_pylist()
        first, second = pairs.baseline.scored[self.number].mean[at], pairs.candidate.scored[self.number].mean[at]
        made = zip(keys, first.tolist(), second.tolist(), hashes.tolist(), strict=True)
        chosen = [Chosen(key, self.scorer.name, change, now - was, was, now, order) for key, was, now, order in made]
        self._kept[change] = sorted([*self._kept[change], *chosen], key=_worst_first)[:MOST_EXAMPLES]

    def kept(self, change: Change) -> Sequence[Chosen]:
        """The largest change first."""
        return self._kept[change]


def chosen_of(tallies: Sequence[ExampleTally], primary: str | None) -> list[Chosen]:
    """The worst regressions and the best improvements of all scorers: first those of the primary one, else each in turn."""
    found: list[Chosen] = []
    for change in ("regressed", "improved"):
        of_scorers = [tally.kept(change) for tally in tallies]
        if primary is not None:
            first = [kept for tally, kept in zip(tallies, of_scorers, strict=True) if tally.scorer.name == primary]
            others = [kept for tally, kept in zip(tallies, of_scorers, strict=True) if tally.scorer.name != primary]
            some = [*_in_turn(first), *_in_turn(others)][:MOST_EXAMPLES]
        else:
            some = [*_in_turn(of_scorers)][:MOST_EXAMPLES]
        names = [tally.scorer.name for tally in tallies]
        found += sorted(some, key=lambda one: (one.scorer != primary, names.index(one.scorer), *_worst_first(one)))
    return found


def _in_turn(lists: Sequence[Sequence[Chosen]]) -> Iterator[Chosen]:
    for place in range(max(map(len, lists), default=0)):
        yield from (kept[place] for kept in lists if place < len(kept))


def _worst_first(one: Chosen) -> tuple[float, int, str]:
    return (-abs(one.difference), one.order, one.key)
