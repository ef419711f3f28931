"""Many files of a run at the same time: on an object store each call takes tens of milliseconds, and a run may have thousands.

Each file is opened by one thread only, and what the threads return comes in the order of what was asked for. Not every file
system of fsspec may be used by several threads. Those of object stores may: they have one loop for the calls of all threads, and
keep no listings (see ``storage``). The one in memory may be read. Of others, such as FTP, nothing is known, so there is one
thread; and one on a local disk when files are read, where threads gain nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.threads import in_order

T = TypeVar("T")
R = TypeVar("R")

#: Small files, such as those of the ledger, and parts of tables that are opened at the same time.
FILES, PARTS = 64, 32

#: Rows of such parts: 8 shards of the default size. Their keys are in memory, and what fsspec reads ahead of each file.
_ROWS = 400_000


def may_overlap(folder: Location) -> bool:
    """Whether a thread may read and write there while another one does."""
    return folder.is_local or isinstance(folder.fs, AsyncFileSystem)


def files_at_once(folder: Location, items: Iterable[T], work: Callable[[T], R]) -> Generator[R, None, None]:
    """``map(work, items)`` for work that reads small files in a folder."""
    return in_order(items, work, at_once=FILES if _is_far(folder) else 1)


def parts_at_once(
    folder: Location, items: Iterable[T], work: Callable[[T], R], *, rows: int, writes: bool = False
) -> Generator[R, None, None]:
    """``map(work, items)`` for work that reads parts, and has the keys of a shard in memory.

    :param rows: of the largest shard. The more it has, the fewer are worked on, so that memory stays bounded.
    :param writes: whether the work writes too.
    """
    return in_order(items, work, at_once=1 if writes and not may_overlap(folder) else _parts(folder, rows))


def batches_of_parts(folder: Location, items: Iterable[T], read: Callable[[T], Iterator[R]], *, rows: int) -> Iterator[R]:
    """What ``read`` yields of each item, one after the other; of several parts in memory, where these have few rows."""
    at_once = _parts(folder, rows)
    if at_once == 1:
        for item in items:
            yield from read(item)
        return
    for batches in in_order(items, lambda item: list(read(item)), at_once=at_once):
        yield from batches


def _parts(folder: Location, rows: int) -> int:
    return max(1, min(PARTS, _ROWS // max(1, rows))) if _is_far(folder) else 1


def _is_far(folder: Location) -> bool:
    return isinstance(folder.fs, (AsyncFileSystem, MemoryFileSystem))
