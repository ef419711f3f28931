"""Counts, field by field, of the rows that both runs answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from airflow_gemini_batch.evals.comparing.fields import field_name
from airflow_gemini_batch.evals.comparing.pairing import Rows
from airflow_gemini_batch.evals.comparison import FieldComparison


@dataclass
class FieldTally:
    """:param fields: their paths."""

    fields: Sequence[str]
    _rows: int = 0
    _counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, baseline: Rows, candidate: Rows) -> None:
        """The rows of one partition that both runs answered, each repeat with its counterpart."""
        if not self.fields:
            return
        _, first, second = np.intersect1d(baseline.answers, candidate.answers, assume_unique=True, return_indices=True)
        self._rows += len(first)
        for place, path in enumerate(self.fields):
            was, now = baseline.numbers(field_name(place))[first], candidate.numbers(field_name(place))[second]
            counts = self._counts.setdefault(path, Counter())
            counts["equal"] += int((was == now).sum())
            counts["different"] += int(((was != now) & (was > 0) & (now > 0)).sum())
            counts["only_baseline"] += int(((was > 0) & (now == 0)).sum())
            counts["only_candidate"] += int(((was == 0) & (now > 0)).sum())

    def comparisons(self) -> tuple[FieldComparison, ...]:
        return tuple(FieldComparison(path=path, n=self._rows, **counts) for path, counts in self._counts.items())
