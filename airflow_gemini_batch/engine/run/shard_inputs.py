"""The input rows of a shard, read back: by key for the answers, in input order for the dead letters.

The inputs file stays on the disk (memory-mapped); only the keys of one shard are held in memory. Rows are numbered from 0 in
input order.
"""

from __future__ import annotations

import contextlib
import functools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.columns import int64s
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.storage import Location

_KEY, _SHA256, _PROBLEM, _CARRIED = 0, 1, 2, 3

#: The columns of a duplicates file that come before the carried ones.
DUPLICATE_FIELDS = (pa.field("payer", pa.int64(), nullable=False), pa.field("key", pa.string(), nullable=False))


class RowBatches:
    """Record batches as one table, of which some rows are copied at a time.

    ``starts`` holds the number of the first row of each batch.
    """

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self.batches = batches
        self.starts: list[int] = []
        self.rows = 0
        for batch in batches:
            self.starts.append(self.rows)
            self.rows += batch.num_rows

    def take(self, rows: Sequence[int]) -> pa.RecordBatch:
        """Some rows, given in ascending order. Only these rows are copied."""
        pieces: list[pa.RecordBatch] = [] if rows else [_taken(self.batches[0], rows)]
        position = 0
        while position < len(rows):
            batch = bisect_right(self.starts, rows[position]) - 1
            start = self.starts[batch]
            until = bisect_left(rows, start + self.batches[batch].num_rows, position)
            pieces.append(_taken(self.batches[batch], [row - start for row in rows[position:until]]))
            position = until
        if len(pieces) == 1:
            return pieces[0]
        return pa.Table.from_batches(pieces).combine_chunks().to_batches()[0]


def _taken(batch: pa.RecordBatch, places: Sequence[int]) -> pa.RecordBatch:
    return batch.take(int64s(places))


class Inputs:
    """The rows of one shard.

    ``starts`` holds the number of the first row of each batch, ``row_bytes`` about how many bytes one of its rows takes.
    """

    def __init__(self, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> None:
        self.batches = batches
        self.carry = pa.schema([schema.field(position) for position in range(_CARRIED, len(schema))])
        rows = RowBatches(batches)
        self.starts, self.rows = rows.starts, rows.rows
        self.row_bytes = [batch.nbytes // max(batch.num_rows, 1) for batch in batches]

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """Key -> row number, for the rows that became requests."""
        numbers: dict[str, int] = {}
        for start, batch in zip(self.starts, self.batches, strict=True):
            keys, problems = batch.column(_KEY).to_pylist(), batch.column(_PROBLEM)
            if problems.null_count == len(keys):
                numbers.update(zip(keys, range(start, start + len(keys)), strict=True))
            else:
                valid = problems.is_null().to_pylist()
                numbers.update((key, start + place) for place, key in enumerate(keys) if valid[place])
        return numbers

    @functools.cached_property
    def numbers_of_all(self) -> dict[str, int]:
        """Key -> row number, for all rows."""
        return {key: number for number, key in enumerate(key for batch in range(len(self.batches)) for key in self.keys(batch))}

    def keys(self, batch: int) -> list[str]:
        keys: list[str] = self.batches[batch].column(_KEY).to_pylist()
        return keys

    def problems(self, batch: int) -> list[str | None]:
        """Why a row of that batch did not become a request; None where it did."""
        problems: list[str | None] = self.batches[batch].column(_PROBLEM).to_pylist()
        return problems

    def row_bytes_of(self, rows: Sequence[int]) -> Any:
        """About how many bytes the carried columns of each of the rows take: those of its neighbours, on average."""
        batches = np.searchsorted(np.array(self.starts, np.int64), np.array(rows, np.int64), side="right") - 1
        return np.array(self.row_bytes, np.int64)[batches]

    def take(self, rows: Sequence[int]) -> pa.RecordBatch:
        """Key, request_sha256 and the carried columns of some rows, given in ascending order. Only these rows are copied."""
        return self._shown.take(rows)

    @functools.cached_property
    def _shown(self) -> RowBatches:
        return RowBatches([_without_problem(batch) for batch in self.batches])


def _without_problem(batch: pa.RecordBatch) -> pa.RecordBatch:
    wanted = [_KEY, _SHA256, *range(_CARRIED, batch.num_columns)]
    return pa.RecordBatch.from_arrays(
        [batch.column(position) for position in wanted], schema=pa.schema([batch.schema.field(position) for position in wanted])
    )


@contextlib.contextmanager
def open_inputs(run: Run, shard: Shard) -> Iterator[Inputs]:
    """The rows of a shard. Raises CorruptRunError when the file is absent, unreadable or does not hold the shard's rows."""
    with opened(run.inputs_file(shard.id)) as reader:
        inputs = Inputs([reader.get_batch(number) for number in range(reader.num_record_batches)], reader.schema)
        if inputs.rows != shard.rows:
            raise CorruptRunError(
                f"{run.inputs_file(shard.id)} holds {inputs.rows} rows, the manifest says {shard.rows}: it was changed after it "
                "was built. Restore it, or start over with if_exists='replace'."
            )
        yield inputs


@contextlib.contextmanager
def open_duplicates(run: Run, shard: Shard) -> Iterator[RowBatches]:
    """The rows that rows of a shard pay for, sorted by payer. Raises CorruptRunError like ``open_inputs``."""
    if shard.duplicates == 0:
        yield RowBatches([])
        return
    with opened(run.duplicates_file(shard.id)) as reader:
        rows = RowBatches([reader.get_batch(number) for number in range(reader.num_record_batches)])
        if rows.rows != shard.duplicates:
            raise CorruptRunError(
                f"{run.duplicates_file(shard.id)} holds {rows.rows} rows, the manifest says {shard.duplicates}: it was changed "
                "after it was built. Restore it, or start over with if_exists='replace'."
            )
        yield rows


@contextlib.contextmanager
def opened(file: Location) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """An inputs file, memory-mapped."""
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(file.local_copy())
            mapped = stack.enter_context(pa.memory_map(str(path)))
            reader = stack.enter_context(pa.ipc.open_file(mapped))
        except FileNotFoundError as error:
            raise CorruptRunError(
                f"{file} is absent: without it the rows of the shard are not known. Restore it, or start over with "
                "if_exists='replace'."
            ) from error
        except pa.ArrowInvalid as error:
            raise CorruptRunError(
                f"{file} is torn or was written by something else ({error}). Restore it, or start over with if_exists='replace'."
            ) from error
        yield reader
