"""The pool that Arrow allocates from during a build."""

from __future__ import annotations

import contextlib
import threading

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.pools import lean_pool


def test_a_block_allocates_from_the_c_library_and_leaves_the_pool_as_it_was() -> None:
    before = pa.default_memory_pool().backend_name

    with contextlib.suppress(KeyError), lean_pool():
        inside = pa.default_memory_pool().backend_name
        raise KeyError

    assert inside == "system"
    assert pa.default_memory_pool().backend_name == before


def test_the_last_of_several_blocks_at_once_gives_the_pool_back() -> None:
    before = pa.default_memory_pool().backend_name
    inside, first_has_ended = threading.Event(), threading.Event()
    seen = []

    def second() -> None:
        with lean_pool():
            inside.set()
            first_has_ended.wait(30)
            seen.append(pa.default_memory_pool().backend_name)

    thread = threading.Thread(target=second)
    with lean_pool():
        thread.start()
        assert inside.wait(30)
    first_has_ended.set()
    thread.join()

    assert seen == ["system"]
    assert pa.default_memory_pool().backend_name == before
