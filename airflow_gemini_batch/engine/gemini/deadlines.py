"""The whole time of an answer is bounded: the HTTP libraries bound only the time between two pieces of it.

A server, or a proxy, that sends one byte now and then would otherwise hold a call for ever: in the headers of its answer, or in
its body. Both limits are set by event hooks of the client and by its ``trace`` extension, which are public in httpx and httpx2.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from airflow_gemini_batch.engine.errors import OutcomeUnknownError
from airflow_gemini_batch.engine.printable import printable

#: The headers of an answer, and then its body, may take so many times the time that may pass without a byte. A POST has that
#: time once, since a create must end within the lease of its claim.
_PATIENCE = 10

#: Bytes per second; a body that arrives faster may take as long as it needs.
_SLOWEST = 10_000


@dataclass(slots=True)
class _Headers:
    """The headers of an answer while they are being read.

    :param until: when they have to be there, by the monotonic clock.
    """

    until: float
    received: int = 0

    @property
    def are_slow(self) -> bool:
        return self.received > 0 and time.monotonic() >= self.until


#: A body is read in pieces of up to so many bytes: those of 64 KiB, which the HTTP libraries ask for, cost a large download half
#: of its time.
_PIECE_BYTES = 1048576

#: Those that this thread is reading.
_reading: ContextVar[_Headers | None] = ContextVar("airflow_gemini_batch_reading_headers", default=None)


def limit_headers(request: Any, *, seconds: float | None = None) -> None:
    """Bound the whole time until the headers of the answer have ended. An event hook for requests.

    :param seconds: that time. Default: by the request's own timeout.
    """
    seconds = _patience(request) if seconds is None else seconds
    if seconds is None:
        return
    what = f"{request.method} {printable(request.url.path)}"

    def trace(event: str, info: Mapping[str, Any]) -> None:
        step = event.partition(".")[2]
        made = info.get("return_value")
        if callable(getattr(made, "start_tls", None)):  # a new connection
            made.read = functools.partial(_read, made.read)  # type: ignore[union-attr]
        elif step == "receive_response_headers.started":
            _reading.set(_Headers(time.monotonic() + seconds))
        elif step in ("receive_response_headers.complete", "receive_response_headers.failed"):
            headers = _reading.get()
            _reading.set(None)
            if "exception" in info and headers is not None and headers.are_slow:
                raise OutcomeUnknownError(
                    f"The answer to {what} comes too slowly: its headers have not ended after {seconds:.0f} s. It was cut off."
                ) from info["exception"]

    request.extensions = {**request.extensions, "trace": trace}


def limit_body(stream_type: type, response: Any) -> None:
    """Bound the whole time of reading a body. An event hook for responses.

    :param stream_type: the HTTP library's own base class of the streams of bodies.
    """
    patience = _patience(response.request)
    if patience is not None:
        what = f"{response.request.method} {printable(response.request.url.path)}"
        response.stream = _limited(stream_type)(response.stream, patience, what)


@functools.cache
def _limited(stream_type: type) -> type:
    """The class of bodies that are read in limited time. One for all answers: a class of its own for each one would keep it,
    and what was sent with its request, until the next collection of garbage."""

    class Limited(stream_type):  # type: ignore[misc] # each HTTP library wants its own base class
        def __init__(self, body: Any, seconds: float, what: str) -> None:
            self._body, self._seconds, self._what = body, seconds, what

        def __iter__(self) -> Iterator[bytes]:
            begin, received = time.monotonic(), 0
            for block in self._body:
                received += len(block)
                if time.monotonic() - begin > self._seconds + received / _SLOWEST:
                    raise OutcomeUnknownError(
                        f"The answer to {self._what} comes too slowly: "
                        f"{received:,} bytes in {time.monotonic() - begin:.0f} s. It was cut off."
                    )
                yield block

        def close(self) -> None:
            self._body.close()

    return Limited


def _patience(request: Any) -> float | None:
    """Seconds for the headers of an answer, and as many for its body; None where the call has no timeout."""
    timeout: float | None = (request.extensions.get("timeout") or {}).get("read")
    return None if timeout is None else timeout * (1 if request.method == "POST" else _PATIENCE)


def _read(read: Callable[..., bytes], max_bytes: int, timeout: float | None = None) -> bytes:
    """Read from a connection, but not beyond the time for headers, if some are being read; and bodies in large pieces."""
    headers = _reading.get()
    if headers is None:
        return read(max(max_bytes, _PIECE_BYTES), timeout=timeout)
    left = headers.until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the headers of the answer have not ended in time")
    data = read(max_bytes, timeout=left if timeout is None else min(timeout, left))
    headers.received += len(data)
    return data
