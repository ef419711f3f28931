r"""A shard's output, line by line.

Lines end at ``\n`` and nowhere else: models write U+2028, U+2029 and U+0085, at which ``str.splitlines`` would split them.
A line may be megabytes long (images), so the file is streamed. A line that is too long for memory is never held whole.

The file is read in blocks of whole lines. What must hold for every byte is checked once for a block, which takes a tenth of the
time that it takes line by line; only the lines of a block that fails are checked one by one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.run.layout import Run, Shard

#: A compromise: the output is read once from start to end, then at single places, and each jump reads this much.
_BUFFER_BYTES = 1 << 16

#: Bytes that are read at a time, and then to the end of a line.
_BLOCK_BYTES = 1 << 20

#: A letter of "key" as an escape, in a name that a search for ``"key"`` does not see.
ESCAPED_KEY = re.compile(rb"\\u00(?:6[bB]|65|79)")

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


class _Block(NamedTuple):
    """
    :param plain: whether all of ``lines`` are.
    :param long_line: the line after them, if it is too long.
    """

    lines: list[bytes]
    plain: bool
    long_line: LongLine | None


class OutputLines:
    """The output, line by line or by place. Blank lines are skipped."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self._longest = LONGEST_LINE

    def __iter__(self) -> Iterator[tuple[int, bytes | LongLine, bool]]:
        """Each line without its end, the place where it begins, and whether it is known to be plain (``is_plain``)."""
        if self._file is None:
            return
        self._file.seek(0)
        at = 0
        while block := self._block():
            for line in block.lines:
                if line and not line.isspace():
                    yield at, line.rstrip(b"\r"), block.plain
                at += len(line) + 1
            if block.long_line is not None:
                yield at, block.long_line, False
                at = self._file.tell()

    def _block(self) -> _Block | None:
        """The next lines of the file; None at its end."""
        assert self._file is not None
        content = self._file.read(min(_BLOCK_BYTES, self._longest))
        start = content.rfind(b"\n") + 1
        if start < len(content):
            content += self._file.readline(self._longest + 1 - (len(content) - start))
        if len(content) - start > self._longest and not content.endswith(b"\n"):
            return _Block(content[:start].split(b"\n")[:-1], is_plain(content[:start]), self._long(content[start:]))
        lines = content.removesuffix(b"\n").split(b"\n")
        return _Block(lines, is_plain(content), None) if content else None

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


def is_plain(content: bytes) -> bool:
    """Whether it is valid UTF-8 in which no name can be ``key`` without being written so."""
    return not (b"\\u00" in content and ESCAPED_KEY.search(content)) and (content.isascii() or _is_utf8(content))


def _is_utf8(content: bytes) -> bool:
    ends = pa.py_buffer(np.array([0, len(content)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(content)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


@contextlib.contextmanager
def open_output(run: Run, shard: Shard) -> Iterator[OutputLines]:
    """The shard's output; without lines when there is no such file."""
    file = run.responses_file(shard.id)
    if not file.exists():
        yield OutputLines(None)
        return
    with file.local_copy() as path, open(path, "rb", buffering=_BUFFER_BYTES) as local:
        yield OutputLines(local)
