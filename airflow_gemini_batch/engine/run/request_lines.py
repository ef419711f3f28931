"""A shard's request file, read back line by line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.storage import Location


class _RequestLine(msgspec.Struct, gc=False):
    key: str
    request: msgspec.Raw


_decode = msgspec.json.Decoder(_RequestLine).decode


def read_keys(lines: Iterable[bytes]) -> Iterator[str]:
    """The keys of a request file's lines."""
    return (_decode(line).key for line in lines)


def read_requests(lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Key and request of a request file's lines."""
    return ((decoded.key, bytes(decoded.request)) for decoded in map(_decode, lines))


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
