"""One side of a comparison: what is read of a finished run and of its scores, some rows at a time.

Every row of the run is read, dead letters too, so that what has no score is counted with its reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.run.layout import TABLES, Table
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.comparing.fields import PARSED, field_name, no_numbers, numbers_of
from airflow_gemini_batch.evals.comparing.values import ValueCounts
from airflow_gemini_batch.evals.runs import FinishedRun, batches_of
from airflow_gemini_batch.evals.scores import ScorerTotals, Scores

#: Rows that are read at a time: their columns are narrow.
_ROWS = 1 << 16

#: What a row was billed, by the name of its column.
AMOUNTS = ("cost_usd", "prompt_tokens", "output_tokens", "thoughts_tokens", "total_tokens")

#: Why a key has no score, in the order of their codes; the reasons of dead letters follow. "" is a key that has one.
ABSENT, MISSING, ERROR, UNLABELLED = "absent", "missing", "error", "unlabelled"
_FIRST = ("", ABSENT, MISSING, ERROR, UNLABELLED)

#: The codes of a score's status.
_STATUSES = ("scored", MISSING, ERROR, UNLABELLED)
_CODES = np.array([0, *map(_FIRST.index, _STATUSES[1:])], np.int16)

SCORES = pa.schema(
    [pa.field("key", pa.string()), pa.field("scorer", pa.int16()), pa.field("score", pa.float64()), pa.field("code", pa.int16())]
)


class Reasons:
    """Why there is no answer or no score, as numbers that are the same on both sides."""

    def __init__(self) -> None:
        self.names = list(_FIRST)

    def code(self, reason: str) -> int:
        if reason not in self.names:
            self.names.append(reason)
        return self.names.index(reason)

    def codes(self, reasons: pa.Array) -> Any:
        """int16 for each reason."""
        found = pc.dictionary_encode(reasons)
        codes = np.array([self.code(name or MISSING) for name in found.dictionary.to_pylist()], np.int16)
        return codes[np.frombuffer(found.indices.buffers()[1], np.int32)[: len(reasons)]] if len(reasons) else codes


@dataclass(frozen=True)
class Side:
    """A run, its scores, and what is counted while it is read.

    :param context: carried columns that are read as texts: the clusters and the slices.
    :param fields: of structured answers that are compared.
    :param finish_reasons: of the results; ``totals`` of what was billed, with the rows that say it; ``values`` of each context
        column, in rows.
    """

    run: FinishedRun
    scores: Scores
    context: tuple[str, ...]
    reasons: Reasons
    fields: tuple[str, ...] = ()
    finish_reasons: Counter[str] = field(default_factory=Counter)
    totals: dict[str, tuple[float, int]] = field(default_factory=dict)
    values: dict[str, ValueCounts] = field(default_factory=lambda: defaultdict(ValueCounts))

    @property
    def schema(self) -> pa.Schema:
        """Of ``rows``. ``reason`` is 0 of a row that is answered."""
        return pa.schema(
            [
                pa.field("key", pa.string()),
                pa.field("repeat", pa.int32()),
                pa.field("reason", pa.int16()),
                *(pa.field(name, pa.float64()) for name in AMOUNTS),
                *(pa.field(context_name(place), pa.string()) for place in range(len(self.context))),
                *(pa.field(field_name(place), pa.uint64()) for place in range(len(self.fields))),
            ]
        )

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Every row of the run."""
        for table in TABLES:
            for part in self.run.parts(table):
                yield from self._rows_of(table, part)

    def _rows_of(self, table: Table, part: Location) -> Iterator[pa.RecordBatch]:
        names = column_names(part)
        wanted = ["reason"] if table == "dead_letter" else ["finish_reason", *([PARSED] if self.fields else [])]
        known = [name for name in (*wanted, *AMOUNTS, *self.context) if name in names]
        for batch in batches_of(part, list(dict.fromkeys((*self.run.row_columns, *known))), _ROWS):
            if "finish_reason" in known and table == "results":
                self._count(batch.column("finish_reason"))
            amounts = [self._amount(batch, name) for name in AMOUNTS]
            reasons = np.zeros(len(batch), np.int16) if table == "results" else self.reasons.codes(batch.column("reason"))
            context = [self._context(batch, name) for name in self.context]
            parsed = batch.column(PARSED) if table == "results" and PARSED in batch.schema.names else None
            fields = no_numbers(len(batch), self.fields) if parsed is None else numbers_of(parsed, self.fields)
            content = [batch.column("key"), self.run.repeats_in(batch), columns.from_numpy(reasons), *amounts, *context, *fields]
            yield pa.record_batch(content, schema=self.schema)

    def _context(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        values = _as_text(batch, name)
        self.values[name].add(values)
        return values

    def _count(self, finish_reasons: pa.Array) -> None:
        for one in pc.value_counts(finish_reasons).to_pylist():
            self.finish_reasons[one["values"] or "none"] += one["counts"]

    def _amount(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        if name not in batch.schema.names:
            return pa.nulls(len(batch), pa.float64())
        amounts = batch.column(name).cast(pa.float64())
        total, known = self.totals.get(name, (0.0, 0))
        self.totals[name] = (total + (pc.sum(amounts).as_py() or 0.0), known + len(batch) - amounts.null_count)
        return amounts

    @property
    def carried(self) -> tuple[str, ...]:
        manifest = self.run.run.manifest()
        return () if manifest is None else manifest.carry

    def score_parts(self) -> list[Location]:
        return [self.run.destination / "scores" / self.scores.name / name for name in self.scores.parts]

    def scored(self, scorers: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The scores by these scorers, of ``SCORES``. Raises DestinationError when they have been rewritten since."""
        places, statuses = columns.strings(list(scorers)), columns.strings(list(_STATUSES))
        for part in self.score_parts():
            try:
                for batch in batches_of(part, ["key", "scorer", "score", "status"], _ROWS):
                    of_scorer = pc.index_in(batch.column("scorer"), value_set=places)
                    code = pc.index_in(batch.column("status"), value_set=statuses)
                    codes = columns.from_numpy(_CODES[np.frombuffer(code.buffers()[1], np.int32)[: len(code)]])
                    content = [batch.column("key"), of_scorer.cast(pa.int16()), batch.column("score"), codes]
                    made = pa.record_batch(content, schema=SCORES)
                    yield made.filter(of_scorer.is_valid()) if of_scorer.null_count else made
            except FileNotFoundError as error:
                raise DestinationError(f"{part} is gone: the run was scored again. Call compare again.") from error

    def __getitem__(self, scorer: str) -> ScorerTotals:
        return self.scores[scorer]


def context_name(place: int) -> str:
    """The column of ``Side.rows`` with the values of ``Side.context[place]``; a carried column may be called anything."""
    return f"context {place}"


def column_names(part: Location) -> list[str]:
    import pyarrow.parquet as pq

    with part.open() as file:
        return list(pq.read_schema(file).names)


def _as_text(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(len(batch), pa.string())
    column = batch.column(name)
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise InputError(
            f"The column {name!r} is {column.type}, whose values are no texts or numbers to group keys by. Name another column."
        ) from error
