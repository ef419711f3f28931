"""The requests of a block of rows in one Arrow column: what encoders make and shards are written from.

A request is JSON on one line, without the newline. Because they share one column, a block is escaped, joined, measured, cut and
written without a Python object for each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow import columns

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.run.media_manifest import MediaFile


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot become a request, and the reason, as a sentence for the dead letter."""

    message: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """
    :param requests: ``large_binary``, one a row; null where there is none.
    :param problems: row -> why there is none.
    :param media: the files that each row's request names; empty where no row names any.
    """

    requests: pa.Array
    problems: Mapping[int, str] = field(default_factory=dict)
    media: Sequence[tuple[MediaFile, ...]] = ()

    @classmethod
    def of(cls, rows: Sequence[bytes | InvalidRow], media: Sequence[tuple[MediaFile, ...]] = ()) -> Encoded:
        """What was made row by row."""
        problems = {row: made.message for row, made in enumerate(rows) if isinstance(made, InvalidRow)}
        requests = [made if isinstance(made, bytes) else None for made in rows]
        return cls(columns.large_binaries(requests), problems, media if any(media) else ())

    def itself(self) -> Encoded:
        """For those who call for requests."""
        return self

    def take(self, rows: Any) -> Encoded:
        """Those of some rows, given by number and as often as they are named."""
        if not len(rows):
            return Encoded(self.requests.slice(0, 0))
        problems = {place: self.problems[row] for place, row in enumerate(rows.tolist()) if row in self.problems}
        media = [self.media[row] for row in rows.tolist()] if self.media else ()
        return Encoded(self.requests.take(columns.from_numpy(rows)), problems, media)

    def rows(self) -> list[bytes | InvalidRow]:
        """The same, row by row."""
        rows: list[bytes | InvalidRow] = self.requests.to_pylist()
        for row, problem in self.problems.items():
            rows[row] = InvalidRow(problem)
        return rows


def joined(*pieces: bytes | pa.Array, length: int) -> pa.Array:
    """Columns of ``large_binary`` and constants, joined row by row; null where any of them is."""
    if not any(isinstance(piece, pa.Array) for piece in pieces):
        return columns.large_binaries([b"".join(pieces)] * length)
    return pc.binary_join_element_wise(*(_constant(piece) if isinstance(piece, bytes) else piece for piece in pieces), _NOTHING)


def _constant(content: bytes) -> pa.Scalar:
    return columns.large_binaries([content])[0]  # pa.scalar would import pandas


_NOTHING = _constant(b"")

#: How JSON writes what cannot stand in a string as it is; the backslash first, since the others bring new ones.
_ESCAPES = {
    b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t", b"\b": b"\\b", b"\f": b"\\f",
}  # fmt: skip
_FIRST_PRINTABLE = 0x20


def escaped(texts: pa.Array) -> pa.Array:
    """The insides of JSON strings, as ``large_binary``.

    :param texts: strings that are valid UTF-8, which stays as it is.
    """
    inside = texts.cast(pa.large_binary())
    content = np.frombuffer(content_of(inside), np.uint8)
    special = [char for char in (b"\\", b'"') if (content == ord(char)).any()]
    controls = content[content < _FIRST_PRINTABLE]
    special += [bytes([code]) for code in np.unique(controls).tolist()]
    for char in special:
        replacement = _ESCAPES.get(char) or b"\\u%04x" % ord(char)
        inside = pc.replace_substring(inside, pattern=char, replacement=replacement)
    return inside


def content_of(column: pa.Array) -> memoryview:
    """The values of a ``large_binary`` column, one after the other, without a copy."""
    ends = ends_of(column)
    return memoryview(column.buffers()[2] or b"")[ends[0] : ends[-1]]


def ends_of(column: pa.Array) -> Any:
    """Where each value of a ``large_binary`` column begins, and where the last one ends."""
    return np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
