"""Two runs read side by side: one pass over the tables of each, then one over their keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.run.tables import PartWriter
from airflow_gemini_batch.evals.comparing.key_counts import KeyTally
from airflow_gemini_batch.evals.comparing.pairing import Pairs, SideTables, pairs_of
from airflow_gemini_batch.evals.comparing.pairs_table import PAIRS_SCHEMA, rows_of
from airflow_gemini_batch.evals.comparing.partitions import Partitions
from airflow_gemini_batch.evals.comparing.sides import SCORES, Reasons, Side
from airflow_gemini_batch.evals.comparing.tallies import Compared, ScorerTally


@contextlib.contextmanager
def on_disk(side: Side, scorers: Sequence[str], partitions: int) -> Iterator[SideTables]:
    """A side's rows and scores by the hashes of their keys, as long as the block lasts."""
    with Partitions(side.schema, partitions) as rows, Partitions(SCORES, partitions) as scores:
        for table, batches in ((rows, side.rows()), (scores, side.scored(scorers))):
            for batch in batches:
                table.add(batch)
            table.finish()
        yield SideTables(rows, scores)


class Clusters:
    """The ids of clusters as whole numbers, so that their texts are kept once."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def codes(self, keys: pa.Array, values: pa.Array) -> Any:
        """Raises InputError for a key without a cluster."""
        if values.null_count:
            key = keys.filter(values.is_null())[0].as_py()
            raise InputError(
                f"The key {key!r} has no value in the column {self._column!r}, which names clusters. Keys without one are no "
                "cluster of their own: fill the column, or compare without cluster."
            )
        places = self._places
        return np.fromiter((places.setdefault(one, len(places)) for one in values.to_pylist()), np.int64, len(values))


@dataclass
class PairedRuns:
    """What is tallied of one candidate.

    :param cluster: the column of clusters, which is the first of the context.
    """

    baseline: Side
    candidate: Side
    scorers: Sequence[Compared]
    cluster: str | None
    reasons: Reasons
    tallies: list[ScorerTally] = field(init=False)
    keys: KeyTally = field(init=False)
    clusters: Clusters | None = field(init=False)

    def __post_init__(self) -> None:
        repeats = max(self.baseline.run.summary.repeats, self.candidate.run.summary.repeats)
        self.tallies = [
            ScorerTally(scorer, number, self.cluster is not None, repeats) for number, scorer in enumerate(self.scorers)
        ]
        self.keys = KeyTally(self.reasons)
        self.clusters = None if self.cluster is None else Clusters(self.cluster)

    def read(self, baseline: SideTables, candidate: SideTables, pairs_file: Location) -> None:
        """Tally all keys, and write the pairs table."""
        names = [scorer.name for scorer in self.scorers]
        context = len(self.candidate.context)
        with PartWriter(pairs_file, PAIRS_SCHEMA) as writer:
            for pairs in pairs_of(baseline, candidate, scorers=len(names), context=context, reasons=self.reasons):
                self._add(pairs)
                cluster = None if self.cluster is None else pairs.context[0]
                for batch in rows_of(pairs, names, cluster, self.reasons):
                    writer.write(batch)

    def _add(self, pairs: Pairs) -> None:
        self.keys.add(pairs)
        clusters = None if self.clusters is None else self.clusters.codes(pairs.keys, pairs.context[0])
        for tally in self.tallies:
            tally.add(pairs, clusters)
