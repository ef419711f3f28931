r"""A shard's output, line by line.

Lines end at ``\n`` and nowhere else: models write U+2028, U+2029 and U+0085, at which ``str.splitlines`` would split them.
A line may be megabytes long (images), so the file is streamed. A line that is too long for memory is never held whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

from airflow_gemini_batch.engine.run.layout import Run, Shard

#: A compromise: the output is read once from start to end, then at single places, and each jump reads this much.
_BUFFER_BYTES = 1 << 16

#: Bytes of a line that are read. A line needs about five times its length in memory until it is a row, and the longest answers
#: known, with ten and more 4K images, stay below this.
LONGEST_LINE = 256 << 20

#: Bytes that are kept of each end of a line that is longer; its key is at one of them.
_END_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class LongLine:
    """The two ends of a line that is longer than ``LONGEST_LINE``, of which nothing else is held in memory.

    :param size: bytes of the whole line, without its end.
    """

    head: bytes
    tail: bytes
    size: int

    @property
    def complaint(self) -> str:
        return f"a line of {self.size:,} bytes, of which at most {LONGEST_LINE:,} can be read"


class OutputLines:
    """The output, line by line or by place. Blank lines are skipped."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self._longest = LONGEST_LINE

    def __iter__(self) -> Iterator[tuple[int, bytes | LongLine]]:
        """Each line without its end, and the place where it begins."""
        if self._file is None:
            return
        self._file.seek(0)
        readline, limit = self._file.readline, self._longest + 1
        at = 0
        while line := readline(limit):
            if len(line) == limit and not line.endswith(b"\n"):
                yield at, self._long(line)
                at = self._file.tell()
                continue
            if not line.isspace():
                yield at, line.rstrip(b"\r\n")
            at += len(line)

    def line(self, at: int) -> bytes | LongLine:
        """The line that begins there."""
        if self._file is None:
            raise IndexError(at)
        self._file.seek(at)
        line = self._file.readline(self._longest + 1)
        return line.rstrip(b"\r\n") if len(line) <= self._longest or line.endswith(b"\n") else self._long(line)

    def copy_line(self, at: int, target: IO[bytes]) -> None:
        """Write the line that begins there, and a line end, a piece at a time."""
        if self._file is None:
            raise IndexError(at)
        self._file.seek(at)
        while (piece := self._file.readline(_BUFFER_BYTES)) and not piece.endswith(b"\n"):
            target.write(piece)
        target.write(piece.rstrip(b"\r\n") + b"\n")

    def _long(self, begin: bytes) -> LongLine:
        """Read on to the end of a line, of which ``begin`` has been read."""
        assert self._file is not None
        head, tail, size = begin[:_END_BYTES], begin[-_END_BYTES:], len(begin)
        del begin
        while piece := self._file.readline(_BUFFER_BYTES):
            size += len(piece)
            tail = (tail + piece)[-_END_BYTES:]
            if piece.endswith(b"\n"):
                break
        ended = tail.rstrip(b"\r\n")
        return LongLine(head, ended, size - (len(tail) - len(ended)))


@contextlib.contextmanager
def open_output(run: Run, shard: Shard) -> Iterator[OutputLines]:
    """The shard's output; without lines when there is no such file."""
    file = run.responses_file(shard.id)
    if not file.exists():
        yield OutputLines(None)
        return
    with file.local_copy() as path, open(path, "rb", buffering=_BUFFER_BYTES) as local:
        yield OutputLines(local)
