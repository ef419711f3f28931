"""Two runs read side by side: one pass over the tables of each, then one over their keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.run.tables import PartWriter
from airflow_gemini_batch.evals.comparing.amounts import AmountTally
from airflow_gemini_batch.evals.comparing.examples import ExampleTally
from airflow_gemini_batch.evals.comparing.field_tally import FieldTally
from airflow_gemini_batch.evals.comparing.key_counts import KeyTally
from airflow_gemini_batch.evals.comparing.pairing import Pairs, SideTables, pairs_of
from airflow_gemini_batch.evals.comparing.pairs_table import PAIRS_SCHEMA, rows_of
from airflow_gemini_batch.evals.comparing.partitions import Partitions
from airflow_gemini_batch.evals.comparing.sides import SCORES, Reasons, Side
from airflow_gemini_batch.evals.comparing.slices import SliceTally
from airflow_gemini_batch.evals.comparing.tallies import Compared, ScorerTally
from airflow_gemini_batch.evals.comparing.values import frequent


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
    :param keeps: whether differences are kept, to draw from them.
    """

    baseline: Side
    candidate: Side
    scorers: Sequence[Compared]
    cluster: str | None
    slices: Sequence[str]
    reasons: Reasons
    keeps: bool = False

    def __post_init__(self) -> None:
        repeats = max(self.baseline.run.summary.repeats, self.candidate.run.summary.repeats)
        clustered = self.cluster is not None
        numbered = list(enumerate(self.scorers))
        self.tallies = [ScorerTally(scorer, number, clustered, repeats, self.keeps) for number, scorer in numbered]
        self.keys, self.amounts = KeyTally(self.reasons), AmountTally()
        self.examples = [ExampleTally(scorer, number) for number, scorer in numbered]
        self.fields = FieldTally(self.baseline.fields)
        self.slice_tallies: list[SliceTally] = []
        self.clusters = None if self.cluster is None else Clusters(self.cluster)

    def read(self, baseline: SideTables, candidate: SideTables, pairs_file: Location) -> None:
        """Tally all keys, and write the pairs table."""
        names, context = [scorer.name for scorer in self.scorers], self.candidate.context
        self.slice_tallies = [self._slices(column, context.index(column)) for column in self.slices]
        with PartWriter(pairs_file, PAIRS_SCHEMA) as writer:
            for pairs in pairs_of(baseline, candidate, scorers=len(names), context=len(context), reasons=self.reasons):
                self._add(pairs)
                cluster = None if self.cluster is None else pairs.context[0]
                for batch in rows_of(pairs, names, cluster, self.reasons):
                    writer.write(batch)

    def _slices(self, column: str, place: int) -> SliceTally:
        values = frequent([side.values[column] for side in (self.baseline, self.candidate)])
        return SliceTally(column, place, values, self.scorers, self.cluster is not None)

    def _add(self, pairs: Pairs) -> None:
        self.keys.add(pairs)
        self.amounts.add(pairs)
        self.fields.add(*pairs.rows)
        clusters = None if self.clusters is None else self.clusters.codes(pairs.keys, pairs.context[0])
        for tally in self.tallies:
            tally.add(pairs, clusters)
        for slices in self.slice_tallies:
            slices.add(pairs, clusters)
        for examples in self.examples:
            examples.add(pairs)

    @property
    def changed_keys(self) -> int:
        """Keys whose score changed, each counted for each scorer."""
        return sum(tally.differences.positive + tally.differences.negative for tally in self.tallies)
