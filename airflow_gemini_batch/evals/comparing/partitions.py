"""Rows of any number brought together by key: each goes to the file that the hash of its key names, and is read with its kin.

So one file at a time is in memory, and keys are compared as they are: two keys of one hash only share a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow import columns

#: Rows of a file, about: some megabytes of keys and scores.
_PARTITION_ROWS = 1 << 16

#: Files of one table. A comparison has four tables open, and many systems allow 1,024 open files.
_MOST_PARTITIONS = 64


def partitions_of(rows: int) -> int:
    """How many files so many rows are spread over."""
    return min(max(rows // _PARTITION_ROWS, 1), _MOST_PARTITIONS)


def hashes_of(keys: pa.Array) -> Any:
    """uint32 for each key, the same in every process."""
    return np.fromiter(map(crc32, keys.cast(pa.binary()).to_pylist()), np.uint32, len(keys))


class Partitions:
    """A table by the hash of its column ``key``. A context manager, for its files.

    :param schema: of the batches.
    :param count: of files; tables that are read together have the same.
    """

    def __init__(self, schema: pa.Schema, count: int) -> None:
        self.schema, self.count = schema, count
        self._stack = ExitStack()
        self._files: list[IO[bytes]] = []
        self._writers: list[pa.ipc.RecordBatchStreamWriter] = []
        self._rows = 0

    def __enter__(self) -> Partitions:
        for _ in range(self.count):
            file = self._stack.enter_context(tempfile.TemporaryFile(prefix="gemini-batch-compare-"))
            self._files.append(file)
            self._writers.append(pa.ipc.new_stream(file, self.schema))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, batch: pa.RecordBatch) -> None:
        if self.count == 1:
            self._writers[0].write_batch(batch)
            return
        numbers = hashes_of(batch.column("key")) % self.count
        order = np.argsort(numbers, kind="stable")
        ordered = batch.take(columns.from_numpy(order))
        ends = np.searchsorted(numbers[order], np.arange(1, self.count + 1)).tolist()
        start = 0
        for writer, end in zip(self._writers, ends, strict=True):
            if start < end:
                writer.write_batch(ordered.slice(start, end - start))
            start = end

    def finish(self) -> None:
        """After the last ``add``, before the first ``read``."""
        for writer, file in zip(self._writers, self._files, strict=True):
            writer.close()
            file.flush()

    def read(self, number: int) -> pa.RecordBatch:
        file = self._files[number]
        file.seek(0)
        with pa.ipc.open_stream(file) as stream:
            return as_one_batch(stream.read_all())


def as_one_batch(table: pa.Table) -> pa.RecordBatch:
    content = [pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type) for column in table.columns]
    return pa.record_batch(content, schema=table.schema)


def encoded(several: Sequence[pa.Array]) -> tuple[pa.Array, list[Any]]:
    """The distinct keys of all columns, and for each column the places of its keys among them, as int32."""
    together = pc.dictionary_encode(pa.concat_arrays(list(several)))
    places = np.frombuffer(together.indices.buffers()[1], np.int32)[: len(together)]
    ends = np.cumsum([len(one) for one in several])[:-1]
    return together.dictionary, np.split(places, ends)
