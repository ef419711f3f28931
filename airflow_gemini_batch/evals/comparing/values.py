"""The values of a carried column, counted while it is read: which of them become slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

#: Values of a column that have a slice of their own: as many as one looks at, and as rows can say something about.
MOST_VALUES, FEWEST_ROWS = 20, 5

#: Distinct values that are counted. A column with more names rows, not groups of them.
_MOST_COUNTED = 10_000


class ValueCounts:
    """How often each value of a column comes; of very many values those that come first."""

    def __init__(self) -> None:
        self.counts: Counter[str | None] = Counter()

    def add(self, values: pa.Array) -> None:
        for one in pc.value_counts(values).to_pylist():
            if one["values"] in self.counts or len(self.counts) < _MOST_COUNTED:
                self.counts[one["values"]] += one["counts"]


def frequent(sides: Sequence[ValueCounts]) -> list[str | None]:
    """The values that become slices, the most frequent in both runs first."""
    together: Counter[str | None] = sum((side.counts for side in sides), Counter())
    ordered = sorted(together.items(), key=lambda one: (-one[1], one[0] is None, one[0] or ""))
    return [value for value, count in ordered[:MOST_VALUES] if count >= FEWEST_ROWS]
