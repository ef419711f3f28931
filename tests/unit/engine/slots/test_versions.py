"""A record that many change at once, on what has exclusive creation and nothing more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from airflow_gemini_batch.engine.errors import NoRoomError
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.slots.versions import Versioned


class Count(msgspec.Struct, frozen=True):
    value: int = 0


def one_more(count: Count) -> tuple[Count, int]:
    return Count(count.value + 1), count.value + 1


@pytest.fixture
def record(tmp_path: Path) -> Versioned[Count]:
    return Versioned(locate(tmp_path / "limits"), Count(), sleep=lambda _: None)


def test_no_change_of_many_threads_is_lost(record: Versioned[Count]) -> None:
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: record.change(one_more), range(80)))

    assert sorted(values) == list(range(1, 81))
    assert record.read() == Count(80)


def test_what_does_not_change_is_not_written(record: Versioned[Count], tmp_path: Path) -> None:
    assert record.change(lambda count: (count, "the same")) == "the same"

    assert not (tmp_path / "limits").exists()


def test_old_versions_are_deleted_and_the_newest_hundred_kept(record: Versioned[Count], tmp_path: Path) -> None:
    for _ in range(201):
        record.change(one_more)

    files = sorted(file.name for file in (tmp_path / "limits").iterdir())
    assert (files[0], files[-1], len(files)) == ("0000000101.json", "0000000201.json", 101)
    assert record.read() == Count(201)


def test_a_torn_version_counts_as_none_and_its_number_is_not_used_again(record: Versioned[Count], tmp_path: Path) -> None:
    record.change(one_more)
    (tmp_path / "limits" / "0000000002.json").write_text('{"va')

    assert record.change(one_more) == 2
    assert (tmp_path / "limits" / "0000000003.json").exists()


def test_whoever_is_never_fast_enough_says_so(record: Versioned[Count]) -> None:
    def slow(count: Count) -> tuple[Count, None]:
        record.change(one_more)  # somebody else, each time
        return Count(-1), None

    with pytest.raises(NoRoomError, match="was changed by others 200 times in a row"):
        record.change(slow)
