r"""A shard's output, line by line.

Lines end at ``\n`` and nowhere else: models write U+2028, U+2029 and U+0085, at which ``str.splitlines`` would split them.
A line may be megabytes long (images), so the file is streamed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

from airflow_gemini_batch.engine.run.layout import Run, Shard

#: A compromise: the output is read once from start to end, then at single places, and each jump reads this much.
_BUFFER_BYTES = 1 << 16


class OutputLines:
    """The output, line by line or by place. Blank lines are skipped."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Each line without its end, and the place where it begins."""
        if self._file is None:
            return
        self._file.seek(0)
        at = 0
        for line in self._file:
            if not line.isspace():
                yield at, line.rstrip(b"\r\n")
            at += len(line)

    def line(self, at: int) -> bytes:
        """The line that begins there."""
        if self._file is None:
            raise IndexError(at)
        self._file.seek(at)
        return self._file.readline().rstrip(b"\r\n")


@contextlib.contextmanager
def open_output(run: Run, shard: Shard) -> Iterator[OutputLines]:
    """The shard's output; without lines when there is no such file."""
    file = run.responses_file(shard.id)
    if not file.exists():
        yield OutputLines(None)
        return
    with file.local_copy() as path, open(path, "rb", buffering=_BUFFER_BYTES) as local:
        yield OutputLines(local)
