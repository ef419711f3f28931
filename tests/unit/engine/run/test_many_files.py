"""How many files are opened at the same time: many where they are far away, one where threads do no good or may do harm."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from airflow_gemini_batch.engine.run.many_files import FILES, PARTS, batches_of_parts, files_at_once, may_overlap, parts_at_once
from airflow_gemini_batch.engine.run.storage import Location

SOON = 30.0

LOCAL = Location(LocalFileSystem(), "/run", "/run")
FAR = Location(DirFileSystem("/run", LocalFileSystem()), "run", "far://run")
MEMORY = Location(MemoryFileSystem(), "/run", "memory://run")
UNKNOWN = Location(AbstractFileSystem(), "/run", "unknown://run")


def test_far_files_are_opened_at_the_same_time_and_come_in_order() -> None:
    together = threading.Barrier(8)

    def work(number: int) -> int:
        together.wait(SOON)
        return number

    for folder in (FAR, MEMORY):
        assert list(files_at_once(folder, range(32), work)) == list(range(32))
        assert list(parts_at_once(folder, range(32), work, rows=10)) == list(range(32))
        assert list(batches_of_parts(folder, range(32), lambda number: iter([work(number)] * 2), rows=10))[:4] == [0, 0, 1, 1]


@pytest.mark.parametrize("folder", [LOCAL, UNKNOWN])
def test_there_is_one_thread_for_a_disk_and_for_a_store_of_which_nothing_is_known(folder: Location) -> None:
    here = {threading.current_thread()}

    assert set(files_at_once(folder, range(5), lambda _: threading.current_thread())) == here
    assert set(parts_at_once(folder, range(5), lambda _: threading.current_thread(), rows=10)) == here


def test_a_store_in_memory_is_read_by_many_and_written_by_one() -> None:
    threads = parts_at_once(MEMORY, range(5), lambda _: threading.current_thread(), rows=10, writes=True)

    assert set(threads) == {threading.current_thread()}
    assert [may_overlap(folder) for folder in (LOCAL, FAR, MEMORY, UNKNOWN)] == [True, True, False, False]


@pytest.mark.parametrize(("rows", "most"), [(10, PARTS), (50_000, 8), (200_000, 2), (3_300_000, 1)])
def test_the_larger_the_shards_the_fewer_are_in_memory(rows: int, most: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = parts_at_once(FAR, items(), lambda number: number, rows=rows)

    assert next(results) == 0
    assert len(taken) == (1 if most == 1 else most + 1), "as many as there are threads, and one that waits"
    results.close()


def test_no_more_files_are_open_than_there_are_threads() -> None:
    lock, open_now, most = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal open_now, most
        with lock:
            open_now += 1
            most = max(most, open_now)
        with lock:
            open_now -= 1
        return number

    assert list(files_at_once(FAR, range(1_000), work)) == list(range(1_000))
    assert most <= FILES


def test_large_parts_are_read_batch_by_batch(tmp_path: Path) -> None:
    read: list[int] = []

    def batches(part: int) -> Iterator[int]:
        for number in range(3):
            read.append(number)
            yield number

    first = next(batches_of_parts(FAR, [0], batches, rows=3_300_000))

    assert (first, read) == (0, [0])
