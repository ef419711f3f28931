"""Many files, each fetched before it is needed: on an object store every call takes tens of milliseconds, whatever it brings.

A small file is one call and is then read from memory. A large file is read in place, block by block.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fsspec import AbstractFileSystem

from airflow_gemini_batch.engine.run.storage import Location

#: Files that are fetched at the same time. With 16 it takes twice as long; with more, stores begin to refuse.
MAX_FETCHES = 32
#: Bytes of all files that are held at the same time.
MAX_HELD_BYTES = 64 << 20
#: Bytes of the largest file that is fetched whole.
MAX_FILE_BYTES = 8 << 20


def read_ahead(files: Sequence[tuple[Location, int | None]]) -> Iterator[Callable[[], Location]]:
    """For each file, in order, a call that returns the location to read it from, and raises what its fetching has raised.

    :param files: each file with its size in bytes; None where the store does not say it.
    """
    waiting: deque[tuple[Callable[[], Location], int]] = deque()
    held = begun = 0
    pool = ThreadPoolExecutor(MAX_FETCHES, thread_name_prefix="read-ahead")
    try:
        for _ in files:
            while begun < len(files) and len(waiting) < MAX_FETCHES:
                location, size = files[begun]
                is_small = size is not None and size <= MAX_FILE_BYTES
                bytes_held = size if is_small and size is not None else 0
                if waiting and held + bytes_held > MAX_HELD_BYTES:
                    break
                fetch = pool.submit(_fetched, location).result if is_small else _in_place(location)
                waiting.append((fetch, bytes_held))
                held += bytes_held
                begun += 1
            fetch, bytes_held = waiting.popleft()
            yield fetch
            held -= bytes_held
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _in_place(location: Location) -> Callable[[], Location]:
    return lambda: location


def _fetched(location: Location) -> Location:
    content = location.read() if location.is_local else location.fs.cat_file(location.path)
    return Location(_Content(content), location.path, location.uri)


class _Content(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """One file, whatever it is called, in memory."""

    cachable = False  # fsspec would keep every one of them for the life of the process

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        return io.BytesIO(self._content)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": len(self._content), "type": "file"}
