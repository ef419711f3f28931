"""A finished run, read table by table and some rows at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.engine.run.layout import PartName, Run, Table
from airflow_gemini_batch.engine.run.repeats import wire_keys_of
from airflow_gemini_batch.engine.run.storage import Location

#: Rows that are read at a time: some megabytes of answers.
BATCH_ROWS = 4096


@dataclass(frozen=True)
class FinishedRun:
    """The tables of a run that has its summary."""

    run: Run
    summary: Summary

    @classmethod
    def open(cls, place: Any, locate: Callable[[str], Location] = storage.locate) -> FinishedRun:
        """:param place: URI or path of the run's destination, its summary (as an object or a dict), or a ``Location``.

        Raises InputError for anything else, DestinationError when no finished run is there.
        """
        run = Run(_located(place, locate), locate)
        summary = summary_of(run)
        if summary is None:
            state = "holds a run that is not finished" if run.manifest_file.exists() else "holds no run"
            raise DestinationError(f"{run.destination} {state}: {run.summary_file} is absent. Evaluations need a finished run.")
        return cls(run, summary)

    @property
    def destination(self) -> Location:
        return self.run.destination

    def parts(self, table: Table) -> list[Location]:
        return [file for file in (self.destination / table).children() if PartName.of(file.name) is not None]

    def schema(self, table: Table = "results") -> pa.Schema:
        """Raises DestinationError when the table has no parts."""
        for part in self.parts(table):
            with part.open() as file:
                return pq.read_schema(file)
        raise DestinationError(f"{self.destination / table} has no parts, though the run is finished. Finish it again.")

    @property
    def repeats(self) -> bool:
        """Whether rows were asked more than once; a carried column may be called ``repeat`` too."""
        return self.summary.repeats > 1

    def repeats_in(self, batch: pa.RecordBatch) -> pa.Array:
        """int32: which repeat each row of a batch is; 0 in a run without repeats."""
        return repeats_of(batch) if self.repeats else pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)

    def rows_in(self, batch: pa.RecordBatch) -> pa.Array:
        """string: key and repeat of each row of a batch as one text, the key itself in a run without repeats."""
        return wire_keys_of(batch, self.summary.repeats)

    @property
    def row_columns(self) -> tuple[str, ...]:
        """The columns that ``rows_in`` and ``repeats_in`` need."""
        return ("key", "repeat") if self.repeats else ("key",)


def batches_of(part: Location, columns: Sequence[str], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """These columns of a part, some rows at a time."""
    with part.open() as file, pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):  # asked for all at once, Arrow keeps what it has read of the earlier ones
            yield from parquet.iter_batches(batch_size=rows, row_groups=[group], columns=list(columns))


def repeats_of(batch: pa.RecordBatch) -> pa.Array:
    """int32: which repeat each row is; 0 in a run without repeats."""
    if "repeat" in batch.schema.names:
        return batch.column("repeat").cast(pa.int32())
    return pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)


def _located(place: Any, locate: Callable[[str], Location]) -> Location:
    if isinstance(place, Location):
        return place
    if isinstance(place, Summary):
        place = place.destination
    if isinstance(place, Mapping):
        if "destination" not in place:
            raise InputError(f"A run is a dict with {', '.join(map(repr, place)) or 'nothing'}; expected a summary or a URI.")
        place = place["destination"]
    if not isinstance(place, (str, os.PathLike)) or not os.fspath(place).strip():
        raise InputError(f"A run is {place!r}; expected the URI of its destination, or its summary.")
    return locate(os.fspath(place))
