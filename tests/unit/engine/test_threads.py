"""Steps that overlap: in order, bounded, and with every error raised where the caller is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.threads import Ahead, ConsumerThread, UnwantedError, in_order, require_wanted

SOON = 30.0


class StopError(Exception):
    pass


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(("work", "consume"))}


@given(numbers=st.lists(st.integers(), max_size=30))
def test_results_come_in_the_order_of_the_items(numbers: list[int]) -> None:
    assert list(in_order(numbers, lambda number: number * 2)) == [number * 2 for number in numbers]


def test_an_item_that_is_done_early_waits_for_those_before_it() -> None:
    second_is_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_is_done.wait(SOON)
        if number == 1:
            second_is_done.set()
        return number

    assert list(in_order(range(5), work)) == [0, 1, 2, 3, 4]


def test_items_are_taken_in_the_callers_thread_and_only_a_few_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            assert threading.current_thread() is threading.main_thread()
            taken.append(number)
            yield number

    results = in_order(items(), lambda number: number)

    assert next(results) == 0
    assert len(taken) == 3
    results.close()


@pytest.mark.parametrize("wrong", [0, 2, 9])
def test_what_the_work_raises_is_raised_in_its_place_and_no_thread_is_left(wrong: int) -> None:
    def work(number: int) -> int:
        if number == wrong:
            raise StopError
        return number

    seen: list[int] = []
    with pytest.raises(StopError):
        seen.extend(in_order(range(10), work))

    assert seen == list(range(wrong))
    assert workers() == set()


def test_a_generator_that_is_closed_leaves_no_thread() -> None:
    results = in_order(range(10), lambda number: number)
    next(results)

    results.close()

    assert workers() == set()


def consumer(consume: Callable[[Iterator[int]], list[int]], waiting: int = 2) -> ConsumerThread[int, list[int]]:
    return ConsumerThread(consume, waiting=waiting, name="consume")


def test_one_at_once_is_the_callers_thread() -> None:
    threads = set(in_order(range(5), lambda _: threading.current_thread(), at_once=1))

    assert threads == {threading.current_thread()}


def test_as_many_items_are_worked_on_at_once_as_asked_for() -> None:
    together = threading.Barrier(8)

    assert list(in_order(range(8), lambda number: (together.wait(SOON), number)[1], at_once=8)) == list(range(8))


def test_work_runs_ahead_of_the_item_that_was_taken_and_no_further() -> None:
    done: list[int] = []
    reached = threading.Semaphore(0)

    def work(number: int) -> int:
        done.append(number)
        reached.release()
        return number * 2

    with Ahead(range(10), work, ahead=2) as ahead:
        for number in range(10):
            assert ahead.take(number) == number * 2
            for _ in range(3 if number == 0 else 1 if number < 8 else 0):
                assert reached.acquire(timeout=SOON)
            assert done == list(range(min(10, number + 3)))


def test_an_error_is_raised_for_its_own_item_alone() -> None:
    def work(number: int) -> int:
        if number == 1:
            raise StopError
        return number

    with Ahead(range(3), work, ahead=1) as ahead:
        assert ahead.take(0) == 0
        with pytest.raises(StopError):
            ahead.take(1)
        assert ahead.take(2) == 2


def test_what_nobody_takes_is_discarded_and_no_thread_is_left() -> None:
    discarded: list[int] = []
    begun = threading.Event()

    def work(number: int) -> int:
        if number == 3:
            begun.set()
        return number

    with Ahead(range(10), work, ahead=2, discard=discarded.append) as ahead:
        assert ahead.take(1) == 1
        assert begun.wait(SOON)

    assert discarded == [0, 2, 3] or discarded == [2, 3], "0 may not have been begun when it was passed over"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_nothing_more_is_begun_after_an_error_in_the_block() -> None:
    done: list[int] = []
    begun, closing = threading.Event(), threading.Event()

    class Closing(Ahead[int, None]):
        """Lets the work that flies end only when what waits has been called off."""

        def _pass_over(self, future: Future[None]) -> None:
            super()._pass_over(future)
            if not self._begun:
                closing.set()

    def work(number: int) -> None:
        done.append(number)
        if number == 1:
            begun.set()
            assert closing.wait(SOON)

    def fail() -> None:
        with Closing(range(10), work, ahead=5) as ahead:
            ahead.take(0)
            assert begun.wait(SOON)
            raise StopError

    with pytest.raises(StopError):
        fail()

    assert done == [0, 1]


def test_an_interrupted_block_ends_work_that_asks_whether_it_is_wanted() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.set()
        try:
            while True:
                require_wanted()
        except UnwantedError:
            ended.set()
            raise

    def be_interrupted() -> None:
        with Ahead([0, 1], lambda number: work(number) if number else None, ahead=1) as ahead:
            ahead.take(0)
            assert begun.wait(SOON)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()

    assert ended.is_set()


def test_work_of_the_callers_thread_is_always_wanted() -> None:
    require_wanted()


def test_a_consumer_gets_every_item_in_order() -> None:
    with consumer(list) as thread:
        for number in range(100):
            thread.put(number)

    assert thread.result == list(range(100))
    assert workers() == set()


def test_items_wait_only_up_to_the_bound() -> None:
    go_on = threading.Event()
    taken: list[int] = []
    is_full = threading.Event()

    def slow(items: Iterator[int]) -> list[int]:
        for number in items:
            taken.append(number)
            if number == 0:
                is_full.set()
                assert go_on.wait(SOON)
        return taken

    put: list[int] = []

    def producer() -> None:
        with consumer(slow) as thread:
            for number in range(10):
                thread.put(number)
                put.append(number)
                if number == 2:
                    go_on_later.set()

    go_on_later = threading.Event()
    producing = threading.Thread(target=producer)
    producing.start()
    assert is_full.wait(SOON)
    assert go_on_later.wait(SOON)

    assert put[3:] == []  # one is consumed, two wait, and the fourth is not taken

    go_on.set()
    producing.join(SOON)
    assert put == taken == list(range(10))


def test_what_the_consumer_raises_is_raised_by_put_or_at_the_end() -> None:
    def fail(items: Iterator[int]) -> list[int]:
        next(items)
        raise StopError

    def put(count: int) -> None:
        with consumer(fail) as thread:
            for number in range(count):
                thread.put(number)

    with pytest.raises(StopError):
        put(1000)
    with pytest.raises(StopError):
        put(1)

    assert workers() == set()


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_a_consumer_of_a_failed_block_does_not_complete_what_it_began(error: type[BaseException]) -> None:
    completed: list[int] = []

    def consume(items: Iterator[int]) -> list[int]:
        completed.append(sum(items))
        return completed

    def break_off() -> None:
        with consumer(consume) as thread:
            thread.put(1)
            raise error

    with pytest.raises(error):
        break_off()

    assert completed == []
    assert workers() == set()


def test_items_wait_by_what_they_weigh() -> None:
    may_take, taken, handed = threading.Semaphore(0), threading.Semaphore(0), threading.Semaphore(0)

    def consume(items: Iterator[int]) -> list[int]:
        received = []
        for item in items:
            received.append(item)
            taken.release()
            assert may_take.acquire(timeout=SOON)
        return received

    thread = ConsumerThread(consume, waiting=10, name="consume", weigh=lambda item: item)

    def put_all() -> None:
        with thread:
            for item in (1, 4, 40, 2):
                thread.put(item)
                handed.release()

    caller = threading.Thread(target=put_all)
    caller.start()
    assert taken.acquire(timeout=SOON)
    for _ in (1, 4, 40):  # 4 leaves room for one more
        assert handed.acquire(timeout=SOON)
    assert not handed.acquire(timeout=0.1)

    for _ in range(4):
        may_take.release()
    caller.join(SOON)
    assert thread.result == [1, 4, 40, 2]
