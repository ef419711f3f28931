"""The keys that have one value in a carried column, compared by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.evals.comparing.pairing import Pairs
from airflow_gemini_batch.evals.comparing.tallies import Compared
from airflow_gemini_batch.evals.comparison import Slice
from airflow_gemini_batch.evals.statistics.differences import FEWEST_CLUSTERS, difference_of
from airflow_gemini_batch.evals.statistics.tally import Tally


@dataclass
class _Group:
    """The pairs of one value and scorer."""

    differences: Tally
    baseline: float = 0.0
    candidate: float = 0.0

    def add(self, first: Any, second: Any, clusters: Any) -> None:
        self.differences.add(second - first, clusters)
        self.baseline += float(first.sum())
        self.candidate += float(second.sum())


@dataclass
class SliceTally:
    """One column.

    :param place: of the column among those of the context.
    :param values: that have a slice; all others are one.
    """

    column: str
    place: int
    values: Sequence[str | None]
    scorers: Sequence[Compared]
    clustered: bool
    _groups: dict[tuple[int, int], _Group] = field(default_factory=dict)

    def add(self, pairs: Pairs, clusters: Any) -> None:
        """:param clusters: for each key the number of its cluster, from 0; None without clusters."""
        of_key = self._slices_of(pairs.context[self.place])
        for number in range(len(self.scorers)):
            first, second = pairs.baseline.scored[number], pairs.candidate.scored[number]
            paired = (first.n > 0) & (second.n > 0)
            for one in np.unique(of_key[paired]).tolist():
                here = paired & (of_key == one)
                group = self._groups.setdefault((one, number), _Group(Tally(clustered=self.clustered, coded=True)))
                group.add(first.mean[here], second.mean[here], None if clusters is None else clusters[here])

    def _slices_of(self, values: pa.Array) -> Any:
        """For each key the place of its value; that after the last one for all others."""
        rest = len(self.values)
        named = columns.strings([value for value in self.values if value is not None] or [""])
        found = pc.index_in(values, value_set=named)
        places = np.array([place for place, value in enumerate(self.values) if value is not None] or [rest])
        known = columns.is_valid(found)
        at = np.frombuffer(found.buffers()[1], np.int32)[: len(found)]
        of_null = self.values.index(None) if None in self.values else rest
        return np.where(known, places[np.where(known, at, 0)], np.where(columns.is_valid(values), rest, of_null))

    def slices(self, level: float) -> Iterator[Slice]:
        for number, scorer in enumerate(self.scorers):
            for one in range(len(self.values) + 1):
                if (group := self._groups.get((one, number))) is not None:
                    yield self._slice(scorer, group, one, level)

    def _slice(self, scorer: Compared, group: _Group, place: int, level: float) -> Slice:
        tally = group.differences
        few = tally.clusters is not None and tally.clusters < FEWEST_CLUSTERS
        found = None if few else difference_of(tally, kind=scorer.kind, averaged=scorer.averaged, level=level, span=scorer.span)
        ci = None if found is None or found.low is None or found.high is None else (found.low, found.high)
        gained, lost = (tally.positive, tally.negative) if scorer.better == "higher" else (tally.negative, tally.positive)
        return Slice(
            column=self.column,
            value=self.values[place] if place < len(self.values) else None,
            scorer=scorer.name,
            n=tally.n,
            baseline=group.baseline / tally.n,
            candidate=group.candidate / tally.n,
            difference=tally.moments.mean,
            ci=ci,
            improved=gained,
            regressed=lost,
            rest=place == len(self.values),
            warnings=(f"There are {tally.clusters} clusters; an interval needs {FEWEST_CLUSTERS}.",)
            if found is None
            else found.warnings,
        )
