"""Sorting of more records than memory should hold: by their leading bits into files, then each file by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any

import numpy as np

#: Records that are sorted at a time: some tens of megabytes.
_BUCKET_RECORDS = 1 << 20
_MOST_BUCKETS = 512

#: A fingerprint as four big integers, so that their order is the order of the bytes; the first fields of every record.
WORDS = [("w0", np.uint64), ("w1", np.uint64), ("w2", np.uint64), ("w3", np.uint64)]


def words_of(fingerprints: bytes) -> Any:
    """uint64, four for each fingerprint, in the order of the bytes."""
    return np.frombuffer(fingerprints, ">u8").astype(np.uint64).reshape(-1, 4)


class BucketSort:
    """Records in the order of their first word, and in the order in which they were added where that is equal.

    A context manager, for its files.

    :param dtype: of the records; its first field is ``w0``, evenly spread over all uint64.
    :param records: how many will come, about.
    """

    def __init__(self, dtype: Any, records: int) -> None:
        self._dtype = np.dtype(dtype)
        self._bits = min(max(records // _BUCKET_RECORDS, 1), _MOST_BUCKETS).bit_length()
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> BucketSort:
        for _ in range(1 << self._bits):
            self._files.append(self._stack.enter_context(tempfile.TemporaryFile(prefix="gemini-batch-sort-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, records: Any) -> None:
        buckets = (records["w0"] >> np.uint64(64 - self._bits)).astype(np.uint16)  # which are sorted in one pass
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(1, len(self._files) + 1))
        start = 0
        for file, end in zip(self._files, ends.tolist(), strict=True):
            if start < end:
                file.write(records[order[start:end]].tobytes())
            start = end

    def sorted(self) -> Iterator[Any]:
        """The records, some at a time; equal first words are never torn apart."""
        for records in self._buckets():
            yield records[np.argsort(records["w0"], kind="stable")]

    def again(self) -> Iterator[Any]:
        """The records whose first word others have too, as they were added; equal first words are never torn apart."""
        for records in self._buckets():
            words = np.sort(records["w0"])
            doubled = words[1:][words[1:] == words[:-1]]
            if len(doubled):
                yield records[np.isin(records["w0"], doubled)]

    def _buckets(self) -> Iterator[Any]:
        for file in self._files:
            file.seek(0)
            records = np.frombuffer(file.read(), self._dtype)
            if len(records):
                yield records
