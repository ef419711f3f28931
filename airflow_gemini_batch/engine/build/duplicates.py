"""Rows that ask what another row of the table asks: the first one pays, the others get its answer when the run is finished.

When the table has been read they are written beside the shards: for each shard the rows that its rows pay for, sorted by the row
that pays.

    duplicates file    Arrow IPC file; by position: 0 payer (its row in the inputs file) · 1 key · then the carried columns
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.columns import from_numpy, int64_values
from airflow_gemini_batch.engine.build.carry import Carry
from airflow_gemini_batch.engine.build.fingerprint_table import FingerprintTable
from airflow_gemini_batch.engine.build.rows import Rows
from airflow_gemini_batch.engine.build.set_aside import CARRIED, KEY, PLACE, SetAside, rows_at_a_time, rows_in
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.shard_inputs import DUPLICATE_FIELDS, RowBatches

#: Rows that are put into order at a time.
_BATCH_ROWS = 1 << 14
#: Rows that are looked up at a time; fewer where they are large.
_LOOKED_UP_ROWS = 1 << 13
_LOOKED_UP_BYTES = 8 << 20


class Duplicates:
    """Takes out of a table the rows that need no request of their own. A context manager, for its files.

    :param schema: of the carried columns, as ``carry`` has them while the table is read; None: the rows are not kept.
    """

    def __init__(self, schema: pa.Schema | None) -> None:
        self._stack = contextlib.ExitStack()
        self.rows = SetAside(schema)

    def __enter__(self) -> Duplicates:
        self._table = self._stack.enter_context(contextlib.closing(FingerprintTable()))
        self._stack.enter_context(self.rows)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def without(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """The rows that are sent, or that cannot be."""
        for some in _some_at_a_time(blocks):
            words = np.concatenate([rows.words() for rows in some])
            has_request = np.concatenate([rows.has_request() for rows in some])
            is_new, payers = self._table.add(words, has_request)
            start = 0
            for rows in some:
                stop = start + len(rows)
                yield self._left(rows, is_new[start:stop], payers[start:stop])
                start = stop
        self._table.close()  # before the keys are compared, which takes memory too

    def _left(self, rows: Rows, is_new: Any, payers: Any) -> Rows:
        """Set aside the rows of a block that are not new; the others."""
        if is_new.all():
            return rows
        chosen = np.flatnonzero(~is_new)
        self.rows.add(rows, chosen, payers[chosen], payers[chosen])
        return rows.chosen(is_new)

    def finish(self, run: Run, shards: Sequence[Shard], carry: Carry) -> tuple[Shard, ...]:
        """Write the rows beside the shards that pay for them. Returns the shards with how many each pays for.

        :param carry: has seen all rows, so that the types of its columns are decided.
        """
        return write_duplicates(run, shards, self.rows, carry)


def write_duplicates(run: Run, shards: Sequence[Shard], aside: SetAside, carry: Carry) -> tuple[Shard, ...]:
    """Write rows beside the shards that pay for them, as ``Duplicates.finish`` does.

    :param aside: the place of each row is the number of the row that pays, counted through all shards.
    """
    if aside.rows == 0:
        return tuple(shards)
    with aside.opened() as rows:
        payers = np.concatenate([int64_values(batch.column(PLACE)).astype(np.uint32) for batch in rows.batches])
        order = np.argsort(payers, kind="stable").astype(np.uint32)
        ends = np.cumsum([shard.rows for shard in shards])
        bounds = np.searchsorted(payers[order], ends)
        size = rows_at_a_time(_BATCH_ROWS, aside.row_bytes)
        written: list[Shard] = []
        for shard, first, last, end in zip(shards, [0, *bounds[:-1]], bounds, ends, strict=True):
            if first < last:
                _write(run, shard, rows, order[first:last], int(end) - shard.rows, carry, size)
            written.append(msgspec.structs.replace(shard, duplicates=int(last - first)))
    return tuple(written)


def _some_at_a_time(blocks: Iterator[Rows]) -> Iterator[list[Rows]]:
    some: list[Rows] = []
    rows = size = 0
    for block in blocks:
        some.append(block)
        rows += len(block)
        size += len(block.content) + block.inputs.nbytes
        if rows >= _LOOKED_UP_ROWS or size >= _LOOKED_UP_BYTES:
            yield some
            some, rows, size = [], 0, 0
    if some:
        yield some


def _write(run: Run, shard: Shard, rows: RowBatches, order: Any, first_row: int, carry: Carry, size: int) -> None:
    """
    :param order: the numbers of the shard's duplicates among ``rows``, sorted by their payer.
    :param first_row: the number of the shard's first row.
    :param size: rows of a batch.
    """
    schema = pa.schema([*DUPLICATE_FIELDS, *carry.decided()])
    with run.duplicates_file(shard.id).writing() as file, pa.ipc.new_file(file, schema) as writer:
        for start in range(0, len(order), size):
            taken = rows_in(rows, order[start : start + size].astype(np.int64))
            payers = from_numpy(int64_values(taken.column(PLACE)) - first_row)
            columns = [payers, taken.column(KEY), *carry.as_decided(taken.columns[CARRIED:])]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
