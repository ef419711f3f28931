"""What is known of numbers, one for each key, when they have been read once: enough for every interval and test here.

Numbers are the differences of a pair of runs, or the values of one run. Memory does not grow with them, but with the clusters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.moments import Moments, finite

#: What is left over when equal scores are averaged in another order. Differences below it are 0, neither better nor worse.
ROUNDING = 1e-12


class Tally:
    """Numbers are added in chunks of any size; the result depends on the size only in its last digits.

    :param clustered: whether each number comes with the id of its cluster.
    :param coded: whether these ids are small whole numbers from 0, so that arrays have them and no dict: for many clusters.
    """

    def __init__(self, *, clustered: bool = False, coded: bool = False) -> None:
        self.clustered, self._coded = clustered, coded
        self.moments = Moments()
        self.positive = self.negative = 0
        self.fractions = False  # whether a number is none of -1, 0 and 1
        self._places: dict[Any, int] = {}
        self._sums = np.zeros(0)
        self._sizes = np.zeros(0)

    @classmethod
    def of(cls, numbers: Any, clusters: Iterable[Any] | None = None) -> Tally:
        tally = cls(clustered=clusters is not None)
        tally.add(numbers, clusters)
        return tally

    @property
    def n(self) -> int:
        return self.moments.n

    @property
    def clusters(self) -> int | None:
        """How many there are; None without clusters."""
        if self._coded:
            return int(np.count_nonzero(self._sizes)) if self.clustered else None
        return len(self._places) if self.clustered else None

    def add(self, numbers: Any, clusters: Iterable[Any] | None = None) -> None:
        """:param clusters: an id (text, number, …) for each number. Raises InputError for a null or another count."""
        given = finite(numbers)
        given = np.where(np.abs(given) < ROUNDING, 0.0, given)
        if (clusters is not None) != self.clustered:
            raise InputError(f"Clusters are {'missing' if self.clustered else 'given'} here and not in the other chunks.")
        if clusters is not None and self._coded:
            self._add_codes(given, np.asarray(clusters))
        elif clusters is not None:
            self._add_clusters(given, clusters)
        self.moments += Moments.of(given)
        above, below = int((given > 0).sum()), int((given < 0).sum())
        self.positive += above
        self.negative += below
        self.fractions |= bool(np.abs(given).sum() != above + below or (np.abs(given) > 1).any())

    def _add_clusters(self, numbers: Any, clusters: Iterable[Any]) -> None:
        ids = clusters.tolist() if isinstance(clusters, np.ndarray) else list(clusters)
        if len(ids) != len(numbers):
            raise InputError(f"There are {len(ids):,} cluster ids for {len(numbers):,} rows. Give one for each row.")
        known = len(self._places)
        places = self._places
        codes = np.fromiter((places.setdefault(one, len(places)) for one in ids), np.int64, len(ids))
        for one in list(places)[known:]:
            if _is_null(one):
                row = int(np.flatnonzero(codes == places[one])[0])
                raise InputError(
                    f"Row {row} has no cluster ({one!r}). Rows without one are no group of their own: name a cluster."
                )
        self._add_codes(numbers, codes)

    def _add_codes(self, numbers: Any, codes: Any) -> None:
        if not len(codes):
            return
        count = max(len(self._sums), int(codes.max()) + 1)
        self._sums = _grown(self._sums, count) + np.bincount(codes, numbers, count)
        self._sizes = _grown(self._sizes, count) + np.bincount(codes, minlength=count)

    def cluster_residuals(self) -> Any:
        """For each cluster, the sum of its numbers' distances from the mean of all."""
        return self._sums - self._sizes * self.moments.mean


def _grown(array: Any, size: int) -> Any:
    return np.concatenate([array, np.zeros(size - len(array))])


def _is_null(cluster: Any) -> bool:
    if cluster is None:
        return True
    if isinstance(cluster, str):
        return False
    return str(cluster) in ("nan", "NaT", "<NA>")
