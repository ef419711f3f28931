"""What a run costs at the storage: calls grow with changes, not with shards and passes.

Every call of a ``Location`` that reaches the file system counts: reading, writing, listing, opening, asking for a size.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pytest

from airflow_gemini_batch.emulator import Emulator, JobFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.collect.download import collect
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.report.board import Board, read_board
from airflow_gemini_batch.engine.report.facts import FactCache
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.submit.submission import Submission
from airflow_gemini_batch.engine.wait.in_flight import current_job
from tests.integration.engine.conftest import KEY, MODEL, SHORT_WAITS

Counting: TypeAlias = Callable[[], AbstractContextManager[Counter[str]]]

_CALLS = ("exists", "size", "open", "writing", "receiving", "local_copy", "create", "delete", "children", "times")
OPTIONS = replace(SHORT_WAITS, max_shard_requests=1, max_active_jobs=20, keep_response=False)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Counts the storage calls made inside of ``with counting() as counts``."""
    counts: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        call = getattr(Location, name)

        @functools.wraps(call)
        def call_and_count(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return call(*args, **kwargs)

        return call_and_count

    for name in _CALLS:
        monkeypatch.setattr(Location, name, counted(name))

    @contextmanager
    def count() -> Iterator[Counter[str]]:
        counts.clear()
        yield counts

    return count


def built(folder: Path, shards: int) -> Run:
    table = pa.table({"id": [str(number) for number in range(shards)], "body": [f"x{number}" for number in range(shards)]})
    run = Run(locate(str(folder)))
    build_run(run, RunSpec(table, GenerateRequest(prompt="${body}"), MODEL, key="id"), OPTIONS)
    return run


#: Seconds on the service's clock from one pass to the next, far more than a whole test takes.
STEP = 1000.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Emulator]:
    """Its jobs end one by one, a step apart: the n-th of the first 20 after n steps, each later one after 20."""
    limit = OPTIONS.max_active_jobs or 0
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=limit * STEP) as emulator:
        for number in range(limit):
            emulator.faults.add(JobFault(running_seconds=(number + 1) * STEP, display_name=rf".* shard {number} .*"))
        yield emulator


@pytest.fixture
def client(service: Emulator) -> Iterator[GeminiClient]:
    with GeminiClient(Endpoint(api_key=KEY, base_url=service.url)) as client:
        yield client


def end_one_job(service: Emulator) -> None:
    service.advance(STEP)
    service.wait_idle()


def passes_of(run: Run, client: GeminiClient, service: Emulator, counting: Counting) -> list[int]:
    """The storage calls of each pass, with one job more ended before each, until the run is finished."""
    counted: list[int] = []
    while True:
        with counting() as counts:
            state = advance(run, client, OPTIONS, patient=True)
        counted.append(counts.total())
        if isinstance(state, Summary):
            assert state.balanced
            return counted
        end_one_job(service)


def test_a_pass_costs_the_same_however_many_shards_have_finished(
    client: GeminiClient, service: Emulator, counting: Counting, tmp_path: Path
) -> None:
    small = passes_of(built(tmp_path / "small", 25), client, service, counting)
    large = passes_of(built(tmp_path / "large", 75), client, service, counting)

    # The first pass submits 20, the last ones submit none, and the very last balances the tables.
    assert (len(small), len(large)) == (26, 76)
    assert max(large[1:-20]) == max(small[1:-20]) <= 24
    assert max(large[-20:-1]) == max(small[-20:-1]) <= 19


def test_a_pass_without_news_is_one_listing_and_three_small_files(
    client: GeminiClient, service: Emulator, counting: Counting, tmp_path: Path
) -> None:
    run = built(tmp_path / "run", 60)
    advance(run, client, OPTIONS, patient=True)
    end_one_job(service)
    advance(run, client, OPTIONS, patient=True)

    with counting() as counts:
        advance(run, client, OPTIONS, patient=True)

    assert counts == {"children": 1, "open": 3}, "the listing; summary, manifest and known.json"


def test_each_mapped_step_costs_the_same_in_a_run_of_many_shards(
    client: GeminiClient, service: Emulator, counting: Counting, tmp_path: Path
) -> None:
    run = built(tmp_path / "run", 100)
    manifest = run.built()
    for shard in manifest.shards[: OPTIONS.max_active_jobs]:
        Submission(run, manifest, client, OPTIONS).submit(shard)
    first, last = manifest.shards[0], manifest.shards[-1]
    end_one_job(service)

    with counting() as submitting:
        shard = Ledger(run).shard(run.built(), ShardAttempt(last.number))
        assert shard == last
        record = Submission(run, run.built(), client, OPTIONS).submit(shard)
    with counting() as waiting:
        job = current_job(run, client, first.id, Ledger(run).submitted(first.id).job)  # type: ignore[union-attr]
    with counting() as collecting:
        shard = Ledger(run).shard(run.built(), first.id)
        assert shard is not None
        collect(run, client, shard, job, OPTIONS)

    assert record.job != job.name
    assert (submitting.total(), waiting.total(), collecting.total()) < (20, 20, 20)
    assert max(submitting.total(), waiting.total(), collecting.total()) < 20


#: What a reader opens of a run whose passes have left what they knew: manifest, known.json, progress.json and summary.json.
FEW = {"times": 1, "open": 4}


def board_of(run: Run, cache: FactCache | None = None) -> Board:
    board = read_board(run, cache=cache)
    assert board is not None
    return board


def calls_of_a_reader(run: Run, counting: Counting, cache: FactCache | None = None) -> tuple[Board, dict[str, int]]:
    with counting() as counts:
        board = board_of(run, cache)
    return board, dict(counts)


def test_a_reader_opens_four_files_however_many_shards_have_landed(
    client: GeminiClient, service: Emulator, counting: Counting, tmp_path: Path
) -> None:
    run = built(tmp_path / "run", 60)
    for landed in (0, 1, 2):
        advance(run, client, OPTIONS, patient=True)
        board, calls = calls_of_a_reader(run, counting)
        assert (board.states.get("landed", 0), calls) == (landed, FEW)
        end_one_job(service)
    passes_of(run, client, service, counting)

    board, calls = calls_of_a_reader(run, counting)

    assert (board.state, board.results, board.states) == ("finished", 60, {"landed": 60})
    assert calls == FEW


def test_a_run_in_steps_leaves_the_same_for_readers_when_it_is_finished(
    client: GeminiClient, service: Emulator, counting: Counting, tmp_path: Path
) -> None:
    run, cache = built(tmp_path / "run", 3), FactCache()
    manifest = run.built()
    for shard in manifest.shards:
        Submission(run, manifest, client, OPTIONS).submit(shard)
    _, submitted = calls_of_a_reader(run, counting, cache)
    service.advance(100 * STEP)
    service.wait_idle()
    for shard in manifest.shards:
        record = Ledger(run).submitted(shard.id)
        assert record is not None
        collect(run, client, shard, current_job(run, client, shard.id, record.job), OPTIONS)
    before, collected = calls_of_a_reader(run, counting, cache)
    _, again = calls_of_a_reader(run, counting, cache)

    finish_run(run)
    after, finished = calls_of_a_reader(run, counting)

    assert submitted == {"times": 1, "open": 3 + 3}, "known.json is absent; three jobs"
    assert collected == {"times": 1, "open": 3 + 3}, "three counts"
    assert again == {"times": 1, "open": 3}
    assert finished == FEW
    assert after.shards == before.shards
