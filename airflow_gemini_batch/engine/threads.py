"""Steps that overlap. Arrow, hashes, compression and files release Python's lock, so threads keep two cores busy; and while one
waits for a store or the service, others go on.

Invariants: items keep their order; a bounded number of them is in memory; and what a thread raises is raised to the caller, after
the thread has ended.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Threads that work on items: with one, building a table takes a tenth longer.
_WORKERS = 2


def in_order(
    items: Iterable[T], work: Callable[[T], R], *, at_once: int = _WORKERS, alone: Callable[[T], bool] = lambda _: False
) -> Generator[R, None, None]:
    """``map(work, items)``, a few items ahead, in threads. Items are taken from ``items`` in the caller's thread.

    :param at_once: threads, above 0. One item more is worked on, or done and not taken yet, so that no thread waits. With 1 there
        is no thread: the caller's does the work.
    :param alone: whether an item is too large for others to be in memory with it. Default: none is.
    """
    if at_once == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="work")
    begun: deque[Future[R]] = deque()
    try:
        for item in items:
            is_alone = alone(item)
            while is_alone and begun:
                yield begun.popleft().result()
            begun.append(pool.submit(work, item))
            del item  # by the time it is worked on, it may be the only large thing
            if is_alone or len(begun) == at_once + 1:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Ahead(Generic[T, R]):
    """``work`` on the next items, one after the other in a thread, while the caller deals with an item before them.

    A context manager. When its block ends, nothing more is begun, and what has been begun is waited for. If the block is
    interrupted (by what is no ``Exception``), work that calls ``require_wanted`` ends without being completed.

    One thread only: so an item never gets something, such as room at the service, before an item that comes earlier.

    :param items: in the order in which they will be taken; taken from ``items`` in the caller's thread.
    :param ahead: items that are begun beyond the one that was taken last. As many results may be in memory. With 0 nothing
        overlaps: work is done while the caller waits for it.
    :param discard: called with each result that nobody takes. Default: it needs nothing.
    """

    def __init__(
        self, items: Iterable[T], work: Callable[[T], R], *, ahead: int, discard: Callable[[R], object] | None = None
    ) -> None:
        self._items, self._work, self._ahead, self._discard = iter(items), work, ahead, discard
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._begun: deque[tuple[T, Future[R]]] = deque()
        self._unwanted = threading.Event()

    def __enter__(self) -> Ahead[T, R]:
        return self

    def take(self, item: T) -> R:
        """The result for an item; raises what the work on it has raised. Items before it are passed over."""
        while True:
            self._begin(1 + self._ahead)
            begun, future = self._begun.popleft()
            if begun == item:
                self._begin(self._ahead)
                return future.result()
            self._pass_over(future)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self._unwanted.set()
        while self._begun:
            self._pass_over(self._begun.popleft()[1])
        self._pool.shutdown()

    def _begin(self, count: int) -> None:
        """Have so many items begun, as long as there are any."""
        while len(self._begun) < count:
            try:
                item = next(self._items)
            except StopIteration:
                return
            # With the caller's context: spans and the context of log lines are in it.
            self._begun.append((item, self._pool.submit(copy_context().run, self._work_on, item)))

    def _work_on(self, item: T) -> R:
        _unwanted.set(self._unwanted)
        return self._work(item)

    def _pass_over(self, future: Future[R]) -> None:
        if not future.cancel() and self._discard is not None:
            future.add_done_callback(self._discard_of)

    def _discard_of(self, future: Future[R]) -> None:
        if self._discard is not None and future.exception() is None:
            self._discard(future.result())


#: Set when the work of this thread is not wanted any more.
_unwanted: ContextVar[threading.Event | None] = ContextVar("airflow_gemini_batch_unwanted", default=None)


class UnwantedError(Exception):
    """The caller of ``Ahead`` was interrupted: nobody will take the result."""


def require_wanted() -> None:
    """Raise UnwantedError if the result of this thread will not be taken. For work that takes minutes, now and then."""
    unwanted = _unwanted.get()
    if unwanted is not None and unwanted.is_set():
        raise UnwantedError


class ConsumerThread(Generic[T, R]):
    """``consume(items)`` in a thread of its own, for items that are put in one by one.

    A context manager: the thread ends with it. If the block fails, ``consume`` gets an error in place of the next item, so what
    it has begun is not completed. What ``consume`` raises is raised by the next ``put``, or at the end of the block.

    :param waiting: items that may wait for the thread: enough to keep it busy, few enough to keep memory flat.
    :param weigh: what an item counts as, above 0; one more may wait while others count less than ``waiting``. Default: 1.
    """

    def __init__(
        self, consume: Callable[[Iterator[T]], R], *, waiting: int, name: str, weigh: Callable[[T], int] = lambda _: 1
    ) -> None:
        self._consume = consume
        self._items: _WeighedQueue[T | _Signal] = _WeighedQueue(
            waiting, lambda item: 1 if isinstance(item, _Signal) else weigh(item)
        )
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


class _WeighedQueue(queue.Queue[T]):
    """A queue that is full when what its items count as has come to ``maxsize``."""

    def __init__(self, maxsize: int, weigh: Callable[[T], int]) -> None:
        super().__init__(maxsize)
        self._weigh = weigh
        self._weights: deque[int] = deque()

    def _qsize(self) -> int:
        return sum(self._weights)

    def _put(self, item: T) -> None:
        self._weights.append(self._weigh(item))
        super()._put(item)

    def _get(self) -> T:
        self._weights.popleft()
        return super()._get()


class _Signal:
    """No item will follow."""


_FINISH = _Signal()
_ABANDON = _Signal()


class _AbandonedError(Exception):
    """The caller failed: what was made so far must not appear."""
