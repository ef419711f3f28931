r"""The two line files of a shard: the requests and the output.

Lines end at ``\n`` and nowhere else: models write U+2028, U+2029 and U+0085, at which ``str.splitlines`` would split them.
A line may be megabytes long (images). Both files are streamed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.storage import Location

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


class _RequestLine(msgspec.Struct, gc=False):
    key: str
    request: msgspec.Raw


_decode = msgspec.json.Decoder(_RequestLine).decode


class RequestLines:
    """The requests, in input order, read only as far as needed.

    A context manager; the file is opened when the first request is asked for.
    """

    def __init__(self, file: Location) -> None:
        self._location = file
        self._stack = contextlib.ExitStack()
        self._lines: Iterator[bytes] | None = None
        self._passed = 0
        self._to_skip = 0

    def __enter__(self) -> RequestLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def skip(self, count: int) -> None:
        self._to_skip += count

    def next(self, key: str) -> bytes:
        """The JSON of the next request. Raises CorruptRunError when it is not the one of ``key``."""
        line = next(islice(self._open(), self._to_skip, None), b"")
        self._passed += self._to_skip + 1
        self._to_skip = 0
        try:
            decoded = _decode(line)
        except ValueError as error:
            raise self._corrupt(key, f"no request ({error})" if line else "the end of the file") from error
        if decoded.key != key:
            raise self._corrupt(key, f"the request of {decoded.key!r}")
        return bytes(decoded.request)

    def _open(self) -> Iterator[bytes]:
        if self._lines is None:
            try:
                self._lines = iter(self._stack.enter_context(self._location.open()))
            except FileNotFoundError as error:
                raise CorruptRunError(
                    f"{self._location} is absent: the dead letters cannot be given their requests. Restore it, or start over "
                    "with if_exists='replace'."
                ) from error
        return self._lines

    def _corrupt(self, key: str, found: str) -> CorruptRunError:
        return CorruptRunError(
            f"{self._location}, line {self._passed}: expected the request of row {key!r}, found {found}. The file was changed "
            "after it was built. Restore it, or start over with if_exists='replace'."
        )
