"""Rows that are taken out of a table while it is read, because they need no request: kept on the local disk until the end.

Each has a place: a number that says where its answer will come from. Carried columns may have any name, so columns are found by
their position.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.columns import from_numpy
from airflow_gemini_batch.engine.build.rows import INPUT_FIELDS, Rows
from airflow_gemini_batch.engine.request.encoded import content_of, ends_of
from airflow_gemini_batch.engine.run.shard_inputs import RowBatches
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES, Location

PLACE, SOURCE_ROW, KEY, REQUEST_SHA256, CARRIED = 0, 1, 2, 3, 4
_OWN_FIELDS = (
    pa.field("place", pa.int64(), nullable=False),
    pa.field("source_row", pa.int64(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
)

#: Rows are written so many at a time: they are read back in another order, each batch many times. Fewer where they are large.
_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 8 << 20


class SetAside:
    """A context manager, for its file.

    :param schema: of the carried columns, as ``carry`` has them while the table is read; None: the rows are counted and not kept.
    :param keep_requests: keep the rows' ``request_sha256`` too.

    ``row_bytes`` is about what a row takes in memory, where rows are large.
    ``digest`` says which rows were added, in which order and with which marks, in blocks of any size.
    """

    def __init__(self, schema: pa.Schema | None, *, keep_requests: bool = False) -> None:
        self._keep_requests = keep_requests
        request = pa.field("request_sha256", pa.string() if keep_requests else pa.null())
        self._schema = None if schema is None else pa.schema([*_OWN_FIELDS, request, *schema])
        self._stack = contextlib.ExitStack()
        self._marks, self._lengths, self._keys = sha256(), sha256(), sha256()
        self._writer: Any = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0
        self.rows = self.row_bytes = 0

    def __enter__(self) -> SetAside:
        if self._schema is not None:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gemini-batch-rows-"))
            self._file = Path(folder) / "rows.arrow"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._waiting = []
        self._close()
        self._stack.__exit__(kind, error, trace)

    @property
    def digest(self) -> str:
        return sha256(b"".join(part.digest() for part in (self._marks, self._lengths, self._keys))).hexdigest()

    def add(self, rows: Rows, chosen: Any, places: Any, marks: Any) -> None:
        """
        :param chosen: the numbers of the rows in the block.
        :param places: int64, of these rows.
        :param marks: what makes the rows of another table other rows, besides their keys: an array, for the digest.
        """
        taken = rows.inputs.take(from_numpy(chosen))
        keys = taken.column(0)
        self._note(keys, marks)
        if self._schema is None:
            return
        requests = taken.column(1) if self._keep_requests else pa.nulls(len(chosen))
        columns = [from_numpy(places), from_numpy(rows.source_rows[chosen]), keys, requests, *taken.columns[len(INPUT_FIELDS) :]]
        self._keep(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def add_again(self, places: Any, source_rows: Any, keys: pa.Array, carried: Sequence[pa.Array]) -> None:
        """Rows that another build has set aside, or has sent, with the places that they have now."""
        self._note(keys, places)
        columns = [from_numpy(places), from_numpy(source_rows), keys, pa.nulls(len(keys)), *carried]
        self._keep(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def write(self, file: Location) -> None:
        """Keep the rows, once none is added any more. Nothing is written where there are none."""
        self._close()
        if self.rows:
            with self._file.open("rb") as rows, file.writing() as out:
                shutil.copyfileobj(rows, out, BLOCK_BYTES)

    def _note(self, keys: pa.Array, marks: Any) -> None:
        texts = keys.cast(pa.large_binary())
        self.rows += len(keys)
        self._marks.update(marks.tobytes())
        self._lengths.update(np.diff(ends_of(texts)).astype(np.int64).tobytes())
        self._keys.update(content_of(texts))

    def _keep(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        if self._waiting_rows >= _BATCH_ROWS or self._waiting_bytes >= _BATCH_BYTES:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._file), self._schema)
        batch = _one_batch(self._waiting)
        self.row_bytes = max(self.row_bytes, batch.nbytes // batch.num_rows)
        self._writer.write_batch(batch)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[RowBatches]:
        """All rows, once none is added any more."""
        self._close()
        if self.rows == 0:
            yield RowBatches([])
            return
        with pa.memory_map(str(self._file)) as mapped, pa.ipc.open_file(mapped) as reader:
            yield RowBatches([reader.get_batch(number) for number in range(reader.num_record_batches)])

    def keys(self) -> Iterator[tuple[int, str]]:
        """The row of the source, and the key, of each row."""
        with self.opened() as rows:
            for batch in rows.batches:
                yield from zip(batch.column(SOURCE_ROW).to_pylist(), batch.column(KEY).to_pylist(), strict=True)

    def _close(self) -> None:
        self._write()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def rows_at_a_time(most: int, row_bytes: int) -> int:
    """How many rows of that size to take out at once: at most so many, fewer where they are large, at least one."""
    return max(1, min(most, _BATCH_BYTES // max(row_bytes, 1)))


def rows_in(rows: RowBatches, places: Any) -> pa.RecordBatch:
    """The rows at these places, in this order. There is at least one."""
    in_file = np.argsort(places, kind="stable")
    back = np.empty(len(places), np.int64)
    back[in_file] = np.arange(len(places))
    ascending = places[in_file]
    ends = np.searchsorted(ascending, [*rows.starts[1:], rows.rows])
    pieces = [
        batch.take(from_numpy(ascending[first:last] - start))
        for batch, start, first, last in zip(rows.batches, rows.starts, [0, *ends[:-1]], ends, strict=True)
        if first < last
    ]
    return _one_batch(pieces).take(from_numpy(back))


def _one_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of the rows of several. There is at least one row."""
    return batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
