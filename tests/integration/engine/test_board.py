"""Where a run stands, read from its folder while it goes on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.api import wait
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.report.board import Board, read_board
from airflow_gemini_batch.engine.report.facts import FactCache
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import KEY, MODEL, SHORT_WAITS, table

pytestmark = pytest.mark.integration

#: Seconds on the service's clock.
JOB_SECONDS = 3600.0
OPTIONS = replace(SHORT_WAITS, max_active_jobs=2)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=JOB_SECONDS) as emulator:
        yield emulator


@pytest.fixture
def client(service: Emulator) -> Iterator[GeminiClient]:
    with GeminiClient(Endpoint(api_key=KEY, base_url=service.url)) as client:
        yield client


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(locate(str(tmp_path / "run")))
    build_run(run, RunSpec(table(12), GenerateRequest(prompt="Repeat: ${body}"), MODEL, key="id", labels={"team": "x"}), OPTIONS)
    return run


def check_once(run: Run, client: GeminiClient, state: Waiting) -> None:
    """One check of the jobs, as a wait makes it."""

    def stop(_: float) -> None:
        raise InterruptedError

    with contextlib.suppress(InterruptedError):
        wait(run, client, state, deadline=9e12, poll_interval=1.0, sleep=stop)


def board_of(run: Run, **arguments: Any) -> Board:
    board = read_board(run, **arguments)
    assert board is not None
    return board


def end_jobs(service: Emulator) -> None:
    service.advance(JOB_SECONDS + 60)
    service.wait_idle()


def test_a_folder_without_a_run_has_no_board(tmp_path: Path) -> None:
    assert read_board(Run(locate(str(tmp_path / "nothing")))) is None


def test_a_run_from_its_first_job_to_its_end(run: Run, client: GeminiClient, service: Emulator) -> None:
    before = board_of(run)
    assert (before.state, before.states, before.share) == ("running", {"waiting": 3}, 0.0)
    assert before.labels == {"team": "x"}

    state = advance(run, client, OPTIONS, patient=True)
    assert isinstance(state, Waiting)
    check_once(run, client, state)
    active = board_of(run)
    assert active.states == {"waiting": 1, "running": 2}
    assert active.checked_at is not None
    assert [shard.requests for shard in active.shards] == [5, 5, 2]
    assert all(shard.job and shard.submitted_at for shard in active.shards[:2])

    end_jobs(service)
    advance(run, client, OPTIONS, patient=True)
    landed = board_of(run)
    assert landed.states["landed"] == 2
    assert (landed.done, landed.results, landed.dead_letter) == (10, 10, 0)
    assert landed.share == pytest.approx(10 / 12)
    assert landed.pace.rows_per_second
    assert landed.pace.seconds_left

    end_jobs(service)
    summary = advance(run, client, OPTIONS, patient=True)
    assert not isinstance(summary, Waiting)
    finished = board_of(run)
    assert (finished.state, finished.share, finished.results) == ("finished", 1.0, 12)
    assert finished.cost == summary.cost
    assert finished.pace.seconds_left is None
    assert (finished.events[0].what, finished.events[-1].what) == ("built", "finished")
    assert json.loads(json.dumps(finished.as_dict()))["states"] == {"landed": 3}


def test_resubmitted_rows_are_counted_once(tmp_path: Path, client: GeminiClient, service: Emulator) -> None:
    options = replace(OPTIONS, max_redrives=1)
    run = Run(locate(str(tmp_path / "again")))
    service.faults.add(RowFault(do="error", code=14, keys=("k1", "k3"), display_name="attempt 0"))
    build_run(run, RunSpec(table(4), GenerateRequest(prompt="Repeat: ${body}"), MODEL, key="id"), options)
    advance(run, client, options, patient=True)
    end_jobs(service)

    state = advance(run, client, options, patient=True)

    assert isinstance(state, Waiting)
    board = board_of(run)
    assert [shard.attempt for shard in board.shards] == [0, 1]
    assert (board.asked, board.done, board.dead_letter) == (4, 2, 0)
    assert board.shards[0].resubmitted == 2


def test_facts_that_were_opened_are_not_opened_again(
    run: Run, client: GeminiClient, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance(run, client, OPTIONS, patient=True)
    end_jobs(service)
    advance(run, client, OPTIONS, patient=True)
    (run.ledger_folder / "known.json").delete()
    cache: FactCache = {}
    first = board_of(run, cache=cache, now=1.0)
    opened: list[str] = []
    read: Callable[..., bytes] = type(run.destination).read
    monkeypatch.setattr(type(run.destination), "read", lambda self: opened.append(self.name) or read(self))

    again = board_of(run, cache=cache, now=1.0)

    assert again == first
    assert len(cache) == 5, "two counts, two decisions that nothing is resubmitted, and the third job"
    assert opened == ["manifest.json", "progress.json", "summary.json"]


def test_torn_files_leave_a_gap(run: Run, client: GeminiClient, service: Emulator) -> None:
    advance(run, client, OPTIONS, patient=True)
    end_jobs(service)
    advance(run, client, OPTIONS, patient=True)
    for name in ("00000-0.landed.json", "known.json", "progress.json", "00002-0.job.json", "00001-0.redrive.json"):
        (run.ledger_folder / name).write(b'{"torn')

    board = board_of(run)

    assert board.results == 5
    assert len(board.shards) == 3
