"""Steps that overlap. Arrow, hashes, compression and files release Python's lock, so threads keep two cores busy.

Invariants: items keep their order; a bounded number of them is in memory; and what a thread raises is raised to the caller, after
the thread has ended.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Threads that work on items: with one, building a table takes a tenth longer.
_WORKERS = 2
#: Items that are worked on, or done and not taken yet: one more than there are workers, so that none of them waits.
_IN_FLIGHT = 3


def in_order(items: Iterable[T], work: Callable[[T], R]) -> Generator[R, None, None]:
    """``map(work, items)``, a few items ahead, in threads. Items are taken from ``items`` in the caller's thread."""
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="work")
    begun: deque[Future[R]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) == _IN_FLIGHT:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class ConsumerThread(Generic[T, R]):
    """``consume(items)`` in a thread of its own, for items that are put in one by one.

    A context manager: the thread ends with it. If the block fails, ``consume`` gets an error in place of the next item, so what
    it has begun is not completed. What ``consume`` raises is raised by the next ``put``, or at the end of the block.

    :param waiting: items that may wait for the thread: enough to keep it busy, few enough to keep memory flat.
    """

    def __init__(self, consume: Callable[[Iterator[T]], R], *, waiting: int, name: str) -> None:
        self._consume = consume
        self._items: queue.Queue[T | _Signal] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._error: BaseException | None = None
        self._ended = False
        self._result: list[R] = []

    def __enter__(self) -> ConsumerThread[T, R]:
        self._thread.start()
        return self

    def put(self, item: T) -> None:
        """Hand over an item, waiting while the thread is behind."""
        self._raise()
        self._items.put(item)

    @property
    def result(self) -> R:
        """What ``consume`` has returned, after the block."""
        return self._result[0]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._items.put(_FINISH if kind is None else _ABANDON)
        self._thread.join()
        if kind is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._result.append(self._consume(self._received()))
        except _AbandonedError:
            pass
        except BaseException as error:
            self._error = error
        while not self._ended:  # the caller must never wait for a thread that is gone
            self._next()

    def _received(self) -> Iterator[T]:
        while not isinstance(item := self._next(), _Signal):
            yield item
        if item is _ABANDON:
            raise _AbandonedError

    def _next(self) -> T | _Signal:
        item = self._items.get()
        self._ended = isinstance(item, _Signal)
        return item


class _Signal:
    """No item will follow."""


_FINISH = _Signal()
_ABANDON = _Signal()


class _AbandonedError(Exception):
    """The caller failed: what was made so far must not appear."""
