"""Steps that overlap: in order, bounded, and with every error raised where the caller is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.threads import ConsumerThread, in_order

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
