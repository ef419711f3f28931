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
from itertools import accumulate
from operator import add
from typing import IO, BinaryIO

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.run.layout import Run, Shard

#: A compromise: the output is read once from start to end, then at single places, and each jump reads this much.
_BUFFER_BYTES = 1 << 16

#: Bytes that are read at a time, and then to the end of a line.
_BLOCK_BYTES = 1 << 20

_KEY = rb'"key"[ \t]*:[ \t]*"(?P<key>[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*)"'
_RESPONSE = rb'"response"[ \t]*:[ \t]*(?P<response>\{.*\})'
_COMMA = rb"[ \t]*,[ \t]*"


def _form(*members: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\{[ \t]*" + _COMMA.join(members) + rb"[ \t]*\}", re.DOTALL)


#: The two forms of a line that has a response, a key and nothing else. JSON can be read in one way only: where the response is
#: an object and the key a string, these are the two members of the line, and there is no need to parse it from outside.
_response_first, _key_first = _form(_RESPONSE, _KEY), _form(_KEY, _RESPONSE)


def key_and_response(content: bytes, begin: int, end: int) -> re.Match[bytes] | None:
    """The groups ``key`` and ``response`` of the line that stands there, if it has one of the two forms."""
    return _response_first.fullmatch(content, begin, end) or _key_first.fullmatch(content, begin, end)


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


@dataclass(frozen=True, slots=True)
class Block:
    """Some of the lines of the output, without their ends and without blank ones. They are copied only when they are asked for.

    :param at: where the content begins in the output.
    :param begins, ends: where each line stands in the content.
    :param plain: whether all of it is known to be valid UTF-8.
    :param long: the only line of a block that has no content.
    """

    at: int
    content: bytes
    begins: list[int]
    ends: list[int]
    plain: bool
    long: LongLine | None = None

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def starts(self) -> list[int]:
        """Where each line begins in the output."""
        return [self.at + begin for begin in self.begins]

    def line(self, place: int) -> bytes | LongLine:
        return self.content[self.begins[place] : self.ends[place]] if self.long is None else self.long


class OutputLines:
    """The output, line by line or by place. Blank lines are skipped."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self._longest = LONGEST_LINE

    def __iter__(self) -> Iterator[tuple[int, bytes | LongLine, bool]]:
        """Each line without its end, the place where it begins, and whether it is known to be valid UTF-8."""
        for block in self.blocks():
            for place, start in enumerate(block.starts):
                yield start, block.line(place), block.plain

    def blocks(self) -> Iterator[Block]:
        """The lines from first to last, about a megabyte at a time."""
        if self._file is None:
            return
        self._file.seek(0)
        at = 0
        while content := self._file.read(min(_BLOCK_BYTES, self._longest)):
            start = content.rfind(b"\n") + 1
            if start < len(content):
                content += self._file.readline(self._longest + 1 - (len(content) - start))
            is_long = len(content) - start > self._longest and not content.endswith(b"\n")
            yield _block(content[:start] if is_long else content, at)
            if is_long:
                yield Block(at + start, b"", [0], [0], False, self._long(content[start:]))
            at = self._file.tell()

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


def _block(content: bytes, at: int) -> Block:
    """The lines of ``content``, which begins there. Nearly always none is blank, and none ends at ``\\r\\n``."""
    lines = content.removesuffix(b"\n").split(b"\n")
    begins = list(map(add, accumulate(map(len, lines[:-1]), initial=0), range(len(lines))))  # each line end is a byte
    ends = list(map(add, begins, map(len, lines)))
    if not all(lines) or any(map(bytes.isspace, lines)):
        filled = [place for place, line in enumerate(lines) if line and not line.isspace()]
        begins, ends = [begins[place] for place in filled], [ends[place] for place in filled]
    if b"\r" in content:
        ends = [begin + len(content[begin:end].rstrip(b"\r")) for begin, end in zip(begins, ends, strict=True)]
    return Block(at, content, begins, ends, is_utf8(content))


def is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
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
