"""Many files are fetched side by side, each by one call, and read in order."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.source import read_ahead as module
from airflow_gemini_batch.engine.source.files import open_files
from airflow_gemini_batch.engine.source.read_ahead import read_ahead

COUNT = 40


class Store(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Counts its calls. No file arrives before so many have been asked for as ``together`` says."""

    cachable = False

    def __init__(self, together: int = 1) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.pseudo_dirs = [""]
        self.fetched: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self._barrier = threading.Barrier(together)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        self._barrier.wait(timeout=30)
        self.fetched[path] += 1
        content: bytes = self.store[path].getvalue()
        return content

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            self.opened[path] += 1
        return super()._open(path, mode, **options)

    def add(self, path: str, content: bytes) -> None:
        with self.open(path, "wb") as file:
            file.write(content)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(together=8)
    for number in range(COUNT):
        content = io.BytesIO()
        pq.write_table(pa.table({"id": [f"{number}-{row}" for row in range(3)]}), content)
        store.add(f"/t/{number:03d}.parquet", content.getvalue())
    return store


def locations(store: Store) -> list[tuple[Location, int | None]]:
    return [(Location(store, path, f"memory:/{path}"), store.size(path)) for path in sorted(store.store)]


def test_each_small_file_is_one_call_and_eight_are_fetched_at_once(store: Store) -> None:
    source = open_files(["memory://t"], lambda uri: Location(store, "/t", uri))
    source.fingerprint()

    assert store.fetched == dict.fromkeys(store.store, 1)  # for its schema
    rows = [row["id"] for batch in source.batches(["id"]) for row in batch.to_pylist()]

    assert rows == [f"{number}-{row}" for number in range(COUNT) for row in range(3)]
    assert store.fetched == dict.fromkeys(store.store, 2)
    assert not store.opened


def test_a_large_file_and_one_of_unknown_size_are_read_in_place(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)
    asked = [*locations(store)[:3], (locations(store)[3][0], None)]

    found = [fetch() for fetch in read_ahead(asked)]

    assert found == [location for location, _ in asked]
    assert not store.fetched


@pytest.mark.parametrize("files_held", [0, 1, 3])
def test_no_more_bytes_are_held_than_the_limit_says(store: Store, files_held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files = locations(store)
    largest = max(size for _, size in files if size is not None)
    monkeypatch.setattr(module, "MAX_HELD_BYTES", largest * files_held)
    store._barrier = threading.Barrier(1)
    taken = 0

    for fetch in read_ahead(files):
        fetch()
        taken += 1
        assert len(store.fetched) <= taken - 1 + max(files_held, 1)

    assert taken == COUNT


def test_the_file_that_cannot_be_fetched_is_named_and_the_others_are_not_awaited(store: Store) -> None:
    store._barrier = threading.Barrier(1)
    source = open_files(["memory://t"], lambda uri: Location(store, "/t", uri))
    store.store["/t/007.parquet"].getvalue = lambda: (_ for _ in ()).throw(PermissionError("403"))
    batches = source.batches(["id"])

    with pytest.raises(InputError, match=r"007\.parquet as Parquet: PermissionError: 403"):
        for _ in batches:
            pass


def test_a_reader_that_stops_early_stops_the_fetching(store: Store) -> None:
    store._barrier = threading.Barrier(1)
    fetches = read_ahead(locations(store))
    next(fetches)()

    fetches.close()  # type: ignore[attr-defined]

    assert len(store.fetched) <= module.MAX_FETCHES
