"""What a run that takes an hour and a half leaves in the log, by the emulator's clock, and what it shows in a terminal."""

from __future__ import annotations

import io
import logging
import time
from pathlib import Path

import pytest
from rich.console import Console

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.api import drive
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.wait.reports import Report, bar_on
from tests.integration.engine.conftest import KEY, MODEL, table

PENDING, RUNNING = 1800, 3600


@pytest.fixture
def emulator(tmp_path: Path):
    with Emulator(tmp_path / "service", pending_seconds=PENDING, running_seconds=RUNNING) as emulator:
        yield emulator


@pytest.fixture
def drive_by_the_emulators_clock(emulator: Emulator, tmp_path: Path):
    """Runs 100 rows in two jobs, one after the other's half: the second is created when the first has ended."""

    def run(report: Report | None = None) -> None:
        passed = 0.0

        def sleep(seconds: float) -> None:
            nonlocal passed
            passed += seconds
            emulator.advance(seconds)

        run = Run(locate(str(tmp_path / "run")))
        prices = {MODEL: {"input": 1, "output": 2}}
        options = BatchOptions(max_shard_requests=50, max_active_jobs=1, poll_interval=60, listing_lag=0.1, prices=prices)
        with GeminiClient(Endpoint(api_key=KEY, base_url=emulator.url)) as client:
            build_run(run, RunSpec(table(100), GenerateRequest(prompt="${body}"), MODEL, "id"), options)
            drive(
                run, client, options,
                deadline=time.time() + 1e6, report=report, sleep=sleep, clock=lambda: time.time() + passed,
            )  # fmt: skip

    return run


def test_a_run_says_how_far_it_is_and_nothing_else(
    drive_by_the_emulators_clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("httpx", "google_genai"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    caplog.set_level(logging.INFO)

    drive_by_the_emulators_clock()

    said = [record.getMessage() for record in caplog.records if " % (" in record.getMessage()]
    percents = [int(line.partition(" %")[0]) for line in said]
    assert (said[0], percents[0]) == ("0 % (0 of 100) · 0 of 2 jobs done", 0)
    assert percents == sorted(percents)
    assert {percent // 10 for percent in percents} == set(range(11))
    # three hours: at most one line every ten minutes, and one for each tenth
    assert 11 < len(said) <= 11 + 18
    late = said[-3]
    assert "· 1 of 2 jobs done, 1 running ·" in late
    assert "rows/min · about" in late
    assert "so far" in late
    assert {record.name.partition(".")[0] for record in caplog.records} == {"airflow_gemini_batch"}
    assert len(caplog.records) < 50


def test_levels_that_somebody_has_set_stay(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("httpx"), "level", logging.INFO)
    monkeypatch.setattr(logging.getLogger("google_genai"), "level", logging.NOTSET)

    GeminiClient(Endpoint(api_key=KEY, base_url=emulator.url)).close()

    assert logging.getLogger("httpx").level == logging.INFO
    assert logging.getLogger("google_genai").level == logging.WARNING


def test_a_terminal_gets_a_bar_instead(drive_by_the_emulators_clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    console = Console(file=io.StringIO(), force_terminal=True, width=150)

    with bar_on(console) as report:
        drive_by_the_emulators_clock(report)

    drawn = console.file.getvalue()
    assert "1 of 2 jobs done" in drawn
    assert "━" in drawn
    assert not [record for record in caplog.records if " % (" in record.getMessage()]
