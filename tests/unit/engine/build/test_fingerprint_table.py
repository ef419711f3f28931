"""The table of fingerprints against a dict, with fingerprints that crowd into a few slots."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.build.fingerprint_table import FingerprintTable
from airflow_gemini_batch.engine.errors import DestinationError

#: A row's fingerprint, as two words: few distinct ones, and few distinct first words. None: a row without a request.
rows = st.none() | st.tuples(st.integers(0, 3), st.integers(0, 3)) | st.tuples(st.integers(2**63, 2**63 + 9), st.just(0))


@given(st.lists(st.lists(rows, max_size=40), max_size=20))
def test_each_row_finds_the_first_one_with_its_fingerprint(blocks: list[list[tuple[int, int] | None]]) -> None:
    first: dict[tuple[int, int], int] = {}
    count = 0
    with contextlib.closing(FingerprintTable(slots=4)) as table:
        for block in blocks:
            words = np.array([row or (0, 0) for row in block], np.uint64).reshape(len(block), 2)
            is_new, numbers = table.add(words, np.array([row is not None for row in block], bool))
            for row, new, number in zip(block, is_new.tolist(), numbers.tolist(), strict=True):
                if row is None or row not in first:
                    assert (new, number) == (True, count)
                    count += 1
                    if row is not None:
                        first[row] = number
                else:
                    assert (new, number) == (False, first[row])


def test_a_table_that_grows_forgets_nothing() -> None:
    words = np.random.default_rng(7).integers(0, 2**64, (50_000, 2), dtype=np.uint64)
    everything = np.ones(1000, bool)
    with contextlib.closing(FingerprintTable(slots=16)) as table:
        for start in range(0, 50_000, 1000):
            assert table.add(words[start : start + 1000], everything)[0].all()
        for start in range(49_000, -1, -7000):
            is_new, numbers = table.add(words[start : start + 1000], everything)
            assert not is_new.any()
            assert numbers.tolist() == list(range(start, start + 1000))


def test_a_full_disk_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with contextlib.closing(FingerprintTable()) as table:
        monkeypatch.setattr("os.pwrite", full)
        with pytest.raises(DestinationError, match=r"No space left on device\. Up to 27 bytes .* or pass dedupe=False\."):
            table.add(np.ones((1, 2), np.uint64), np.ones(1, bool))
