"""What a reader of a run costs the storage: a finished run of many shards is shown from one listing and a few files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import msgspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch import Endpoint, GenerateRequest, redrive, run_batch
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.report.board import Board, read_board
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate

SHARDS = 30
OPTIONS = {"max_shard_requests": 2, "poll_interval": 0.05, "max_redrives": 0, "listing_lag": 0.1}


class CountingStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store that remembers what was opened."""

    protocol = "counting"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    opened: list[str] = []  # noqa: RUF012

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        self.opened.append(path)
        return super()._open(path, mode, **kwargs)


@pytest.fixture
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("service"), pending_seconds=0, running_seconds=0) as emulator:
        emulator.faults.add(RowFault(do="error", keys=("k3", "k40"), code=13))
        yield emulator


@pytest.fixture
def endpoint(emulator: Emulator) -> Endpoint:
    return Endpoint(api_key="AIzaAnyKey", base_url=emulator.url)


@pytest.fixture
def run(endpoint: Endpoint) -> Iterator[Run]:
    """A finished run of thirty shards, two of which have a dead letter."""
    fsspec.register_implementation("counting", CountingStore, clobber=True)
    table = pa.table({"id": [f"k{row}" for row in range(2 * SHARDS)], "body": [f"text {row}" for row in range(2 * SHARDS)]})
    run_batch(
        table,
        GenerateRequest(prompt="Repeat: ${body}"),
        model="gemini-3.6-flash",
        destination="counting://run",
        key="id",
        options=OPTIONS,
        endpoint=endpoint,
    )
    yield Run(locate("counting://run"), locate)
    CountingStore.store.clear()


def opened(run: Run) -> tuple[Board, list[str]]:
    """The board, and the files that were opened to read it."""
    CountingStore.opened.clear()
    board = read_board(run)
    assert board is not None
    return board, list(CountingStore.opened)


def test_a_finished_run_is_read_from_a_few_files_however_many_shards_it_has(run: Run) -> None:
    board, files = opened(run)

    assert (board.state, board.results, board.dead_letter) == ("finished", 2 * SHARDS - 2, 2)
    assert sum(bool(shard.dead_letter) for shard in board.shards) == 2
    assert len(files) <= 5, files


@pytest.mark.parametrize("content", [None, b"[{"], ids=["absent", "torn"])
def test_without_the_hint_the_facts_of_each_shard_are_read(content: bytes | None, run: Run) -> None:
    whole, _ = opened(run)
    hint = run.ledger_folder / "known.json"
    if content is None:
        hint.delete()
    else:
        hint.write(content)

    board, files = opened(run)

    assert board == msgspec.structs.replace(whole, read_at=board.read_at)
    assert len(files) > SHARDS


def test_after_a_redrive_the_counts_are_those_of_the_new_tables(run: Run, endpoint: Endpoint, emulator: Emulator) -> None:
    emulator.faults.clear()
    redrive("counting://run", options=OPTIONS, endpoint=endpoint)

    board, files = opened(run)

    assert (board.results, board.dead_letter, len(board.shards)) == (2 * SHARDS, 0, SHARDS + 2)
    assert len(files) <= 5, files
