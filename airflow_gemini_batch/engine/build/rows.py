"""Consecutive rows of the source, in the form of the two files of a shard.

The requests file has a line for each row with a request; the inputs file has every row. Only the fingerprint of each request is
computed row by row in Python (``request.fingerprints``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.request.encoded import Encoded, content_of, ends_of, escaped, joined
from airflow_gemini_batch.engine.request.fingerprints import FINGERPRINT_BYTES, Fingerprinter
from airflow_gemini_batch.engine.run.bucket_sort import words_of
from airflow_gemini_batch.engine.run.media_manifest import MediaFile
from airflow_gemini_batch.engine.source.blocks import copied

#: The columns of an inputs file that come before the carried ones.
INPUT_FIELDS = (
    pa.field("key", pa.string(), nullable=False),
    pa.field("request_sha256", pa.string()),
    pa.field("problem", pa.string()),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """
    :param lines: of the requests file, ``large_binary``, each with its newline; null for a row with a problem.
    :param inputs: of the inputs file.
    :param media: the files that each row's request names; empty where none of the rows names any.
    :param source_rows: int64, the number of each row in the source; None while that is not asked for.
    :param fingerprints: of the requests, 32 bytes for each row. Only a block that has not been cut has them.
    """

    lines: pa.Array
    inputs: pa.RecordBatch
    media: Sequence[tuple[MediaFile, ...]] = ()
    source_rows: Any = None
    fingerprints: bytes = b""

    @classmethod
    def of(
        cls,
        keys: Sequence[str],
        encoded: Encoded,
        carried: pa.RecordBatch | None,
        max_bytes: int,
        fingerprinter: Fingerprinter,
        first_row: int = 0,
    ) -> Rows:
        """Make the lines.

        :param carried: the carried columns of these rows; None when there are none.
        :param max_bytes: a longer line is a problem of its row.
        :param first_row: the number of the first row in the source.
        """
        key = columns.strings(keys)
        problems = dict(encoded.problems)
        lines = _lines(key, encoded.requests)
        sizes = np.diff(ends_of(lines))
        too_long = set(np.flatnonzero(sizes > max_bytes).tolist())
        if too_long:
            for row in too_long:
                size = int(sizes[row])
                problems[row] = (
                    f"the request makes a line of {size:,} bytes, and a shard holds at most {max_bytes:,} "
                    "(max_shard_bytes). Send its media as file URIs, or drop the row."
                )
            short = [None if row in too_long else request for row, request in enumerate(encoded.requests.to_pylist())]
            lines = _lines(key, columns.large_binaries(short))
        fingerprints = fingerprinter.of(encoded.requests)
        arrays = [key, _in_hex(fingerprints, problems, len(keys)), _sparse(problems, len(keys))]
        schema = list(INPUT_FIELDS)
        if carried is not None:
            arrays += carried.columns
            schema += carried.schema
        inputs = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(schema))
        source_rows = np.arange(first_row, first_row + len(keys))
        return cls(lines, inputs, encoded.media, source_rows, fingerprints)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def content(self) -> memoryview:
        """The lines, one after the other, without a copy."""
        return content_of(self.lines)

    @property
    def requests(self) -> int:
        """How many rows have a line."""
        return len(self) - int(self.lines.null_count)

    def sizes(self) -> Any:
        """The bytes of each row's line; 0 where it has none."""
        return np.diff(ends_of(self.lines))

    def has_request(self) -> Any:
        """Bools, whether each row has a line."""
        return columns.is_valid(self.lines)

    def chosen(self, mask: Any) -> Rows:
        """The rows where the mask is True."""
        wanted = columns.from_numpy(mask)
        media = [files for files, is_wanted in zip(self.media, mask, strict=True) if is_wanted] if self.media else ()
        left = np.frombuffer(self.fingerprints, f"S{FINGERPRINT_BYTES}")[mask].tobytes()
        return Rows(self.lines.filter(wanted), self.inputs.filter(wanted), media, self.source_rows[mask], left)

    def words(self) -> Any:
        """The fingerprints as uint64, four for each row."""
        return words_of(self.fingerprints)

    def between(self, start: int, stop: int) -> Rows:
        if start == 0 and stop == len(self):
            return self
        size = stop - start
        return Rows(self.lines.slice(start, size), copied(self.inputs.slice(start, size)), self.media[start:stop])


def _lines(keys: pa.Array, requests: pa.Array) -> pa.Array:
    return joined(b'{"key":"', escaped(keys), b'","request":', requests, b"}\n", length=len(keys))


def _in_hex(fingerprints: bytes, problems: Mapping[int, str], length: int) -> pa.Array:
    """Null for a row with a problem."""
    offsets = np.arange(length + 1, dtype=np.int32) * (2 * FINGERPRINT_BYTES)
    is_sent = columns.validity([None if row in problems else row for row in range(length)]) if problems else None
    buffers = [is_sent, pa.py_buffer(offsets), pa.py_buffer(fingerprints.hex().encode())]
    return pa.Array.from_buffers(pa.string(), length, buffers)


def _sparse(texts: Mapping[int, str], length: int) -> pa.Array:
    if not texts:
        return pa.nulls(length, pa.string())
    return columns.strings([texts.get(row) for row in range(length)])
