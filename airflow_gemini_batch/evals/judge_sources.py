"""What a judge is asked about: the answers of a finished run as a table that is read some rows at a time, never as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow.columns import strings
from airflow_gemini_batch.engine.arrow.texts import texts, why_no_text
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source.memory import Source
from airflow_gemini_batch.evals.labels import Labels
from airflow_gemini_batch.evals.pairwise import FIRST, SECOND
from airflow_gemini_batch.evals.runs import FinishedRun, batches_of

#: Divides a row and the order in which its pair is shown, in the keys of a judge's run.
_DIVIDER = "#"


class JudgedRows(Source):
    """The rows of a run that a judge is asked about: those of its results in which no column that is shown is null.

    :param columns: that are shown: of the results, or of the labels.
    """

    def __init__(self, run: FinishedRun, labels: Labels | None, columns: Sequence[str]) -> None:
        self._run, self._labels, self._columns = run, labels, tuple(columns)
        self.row = _unused(self._columns)
        super().__init__(self._shown_schema(), f"the answers of {run.destination}")

    def fingerprint(self) -> str:
        summary = self._run.summary
        labelled = self._labels.digest if self._labels is not None and self._of_labels() else ""
        return digest_of(summary.run_id, summary.finished_at, labelled, *self._columns)

    @property
    def labels_digest(self) -> str:
        """Of the labels that are shown; without any, the same for every table of labels."""
        return digest_of(self._labels.digest if self._labels is not None and self._of_labels() else "")

    def _of_labels(self) -> list[str]:
        return [] if self._labels is None else [name for name in self._columns if name in self._labels.columns]

    def _shown_schema(self) -> pa.Schema:
        return pa.schema([pa.field(self.row, pa.string()), *self._own_fields(self._columns)])

    def _own_fields(self, columns: Sequence[str]) -> list[pa.Field]:
        results, labels = self._run.schema(), self._labels.schema if self._labels is not None else pa.schema([])
        return [(labels if name in labels.names else results).field(name) for name in columns]

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        of_results = [name for name in self._needed() if name not in self._of_labels()]
        read = list(dict.fromkeys((*self._run.row_columns, *of_results)))
        for part in self._run.parts("results"):
            for batch in batches_of(part, read):
                yield self._shown(batch).select(list(columns))

    def _needed(self) -> tuple[str, ...]:
        """The columns of the judged run that are looked at."""
        return self._columns

    def _shown(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return _without_nulls(pa.record_batch([self._run.rows_in(batch), *self._own(batch, self._columns)], schema=self.schema))

    def _own(self, batch: pa.RecordBatch, columns: Sequence[str]) -> list[pa.Array]:
        found = self._labels.find(batch.column("key").to_pylist()) if self._labels is not None and self._of_labels() else []
        return [
            pa.array([labels.get(field.name) for labels in found], field.type)
            if field.name in self._of_labels()
            else batch.column(field.name)
            for field in self._own_fields(columns)
        ]


class PairedRows(JudgedRows):
    """The pairs that a judge is asked about, each in every order: in ``row#first`` the judged run's comes first.

    :param baseline: the other run's answers (``answers_of``), by row.
    :param answer: the column that is compared.
    """

    def __init__(
        self,
        run: FinishedRun,
        labels: Labels | None,
        columns: Sequence[str],
        *,
        other: FinishedRun,
        baseline: Labels,
        answer: str,
        orders: Sequence[str],
    ) -> None:
        self._other, self._baseline, self._answer, self._orders = other, baseline, answer, tuple(orders)
        super().__init__(run, labels, columns)

    def fingerprint(self) -> str:
        other = self._other.summary
        return digest_of(super().fingerprint(), other.run_id, other.finished_at, self._answer, *self._orders)

    def _shown_schema(self) -> pa.Schema:
        return pa.schema([*super()._shown_schema(), pa.field(FIRST, pa.string()), pa.field(SECOND, pa.string())])

    def _needed(self) -> tuple[str, ...]:
        return (*self._columns, self._answer)

    def _shown(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = self._run.rows_in(batch)
        answers = text_of(batch.column(self._answer))
        others = pa.array([found.get("answer") for found in self._baseline.find(rows.to_pylist())], pa.string())
        differ = np.flatnonzero(pc.fill_null(pc.not_equal(answers, others), False).to_numpy(zero_copy_only=False))
        # Each pair in its orders, one after the other.
        places = pa.array(np.repeat(differ, len(self._orders)))
        orders = pa.array(list(self._orders) * len(differ), pa.string())
        is_first = pc.equal(orders, FIRST)
        mine, theirs = answers.take(places), others.take(places)
        columns = [
            pc.binary_join_element_wise(rows.take(places), orders, _DIVIDER),
            *(column.take(places) for column in self._own(batch, self._columns)),
            pc.if_else(is_first, mine, theirs),
            pc.if_else(is_first, theirs, mine),
        ]
        return _without_nulls(pa.record_batch(columns, schema=self.schema))


def pair_row(row: str, order: str) -> str:
    """The key of a pair in a judge's run."""
    return f"{row}{_DIVIDER}{order}"


def answers_of(run: FinishedRun, column: str) -> pa.RecordBatchReader:
    """The answers of a run by row, as texts, and why a row has none."""
    schema = pa.schema([pa.field(name, pa.string()) for name in ("row", "answer", "problem")])

    def batches() -> Iterator[pa.RecordBatch]:
        for part in run.parts("results"):
            for batch in batches_of(part, list(dict.fromkeys((*run.row_columns, column)))):
                nothing = pa.nulls(batch.num_rows, pa.string())
                yield pa.record_batch([run.rows_in(batch), text_of(batch.column(column)), nothing], schema=schema)
        for part in run.parts("dead_letter"):
            for batch in batches_of(part, [*run.row_columns, "reason"]):
                nothing = pa.nulls(batch.num_rows, pa.string())
                yield pa.record_batch([run.rows_in(batch), nothing, batch.column("reason").cast(pa.string())], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def require_answer(run: FinishedRun, column: str) -> None:
    """Raise InputError unless the results have a column that can be compared."""
    schema = run.schema()
    if column not in schema.names:
        raise InputError(f"answer is {column!r}, which the results of {run.destination} do not have: {', '.join(schema.names)}.")
    if reason := why_no_text(schema.field(column)):
        raise InputError(f"answer is {column!r}, which {reason} in {run.destination}. Name a column with a text form.")


def text_of(column: pa.Array) -> pa.Array:
    """Each value as it is put into a prompt; null where it has no text."""
    if pa.types.is_string(column.type):
        return column
    return strings([value if isinstance(value, str) else None for value in texts(column)])


def digest_of(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _without_nulls(batch: pa.RecordBatch) -> pa.RecordBatch:
    whole = np.ones(batch.num_rows, bool)
    for column in batch.columns:
        whole &= column.is_valid().to_numpy(zero_copy_only=False)
    return batch.filter(pa.array(whole))


def _unused(names: Sequence[str]) -> str:
    name = "row"
    while name in names:
        name += "_"
    return name
