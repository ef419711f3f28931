"""A short run of the crash harness with a fixed seed: every scenario, some dozens of crashes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crashing.audit import ERRORS
from crashing.scenarios import SCENARIOS, Scenario

from airflow_gemini_batch.emulator import Emulator
from tests.integration.crash.conftest import BENCHMARKS

#: It takes less than a minute on two idle cores; the timeout allows for a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

Figures = dict[str, Any]


def harness(report: Path, *arguments: str) -> tuple[int, Figures]:
    command = [sys.executable, str(BENCHMARKS / "crash.py"), "--quiet", "--seed", "7", "--json", str(report), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert report.exists(), ended.stderr
    return ended.returncode, json.loads(report.read_text())


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Figures]:
    report = tmp_path_factory.mktemp("crash") / "report.json"
    return harness(report, "--crashes", "90", "--rows", "4000", "--large", "2000", "--parallel", "6")


def test_nothing_is_paid_twice_lost_duplicated_or_mismatched(figures: tuple[int, Figures]) -> None:
    code, report = figures

    assert report["failed"] == []
    assert {name: report["total"][name] for name in ERRORS} == dict.fromkeys(ERRORS, 0)
    assert report["total"]["most_jobs"] == 1
    assert report["total"]["paid"] == report["total"]["requests"] > 0
    assert report["total"]["crashes"] >= 90
    assert code == 0


@pytest.mark.parametrize("scenario", [scenario.name for scenario in SCENARIOS])
def test_every_scenario_was_run_until_it_finished(scenario: str, figures: tuple[int, Figures]) -> None:
    found = figures[1]["scenarios"][scenario]

    assert found["runs"] > 0
    assert found["results"] + found["dead_letter"] == found["rows"] > 0
    assert found["paid"] == found["requests"] > 0


@pytest.mark.parametrize("scenario", [scenario.name for scenario in SCENARIOS if scenario.repeats and not scenario.reuses])
def test_rows_that_repeat_a_request_share_its_answer_or_its_dead_letter(scenario: str, figures: tuple[int, Figures]) -> None:
    found = figures[1]["scenarios"][scenario]

    assert 0 < found["dead_letter"] < found["rows"]
    assert found["copies"] + found["paid"] == found["rows"]


def test_the_harness_finds_duplicate_jobs_when_the_search_before_a_create_is_removed(tmp_path: Path) -> None:
    code, report = harness(
        tmp_path / "report.json",
        "--sabotage",
        "--crashes",
        "4",
        "--parallel",
        "2",
        "--scenario",
        "listing",
        "--home",
        str(tmp_path),
    )

    assert code == 1
    assert report["total"]["duplicate_jobs"] > 0


@pytest.mark.parametrize("scenario", [scenario for scenario in SCENARIOS if scenario.reuses], ids=lambda one: one.name)
def test_only_what_no_earlier_run_has_answered_is_paid(scenario: Scenario, figures: tuple[int, Figures]) -> None:
    found = figures[1]["scenarios"][scenario.name]
    first_answers = found["rows"] / scenario.answers  # the earlier run has one answer to each row

    assert found["rows"] > found["reused"] > 0
    assert found["paid"] < found["rows"] - first_answers + first_answers / 20


@pytest.mark.parametrize(("sabotage", "scenario", "wrong"), [
    ("dedupe", "duplicates-steps", "wrong_copies"),
    ("reuse", "reuse", "wrong_reuse"),
])  # fmt: skip
def test_the_harness_finds_what_is_paid_for_twice(sabotage: str, scenario: str, wrong: str, tmp_path: Path) -> None:
    code, report = harness(
        tmp_path / "report.json",
        "--sabotage", sabotage, "--crashes", "1", "--parallel", "1", "--scenario", scenario, "--home", str(tmp_path),
    )  # fmt: skip

    assert code == 1
    assert report["total"]["wrongly_paid"] > 0
    assert report["total"][wrong] > 0
    assert report["total"]["paid"] > report["total"]["requests"] > 0


def test_the_jobs_of_an_external_service_are_counted_in_its_listing(tmp_path: Path) -> None:
    with Emulator(tmp_path / "service", pending_seconds=0.1, running_seconds=0.1) as emulator:
        code, report = harness(
            tmp_path / "report.json", "--url", emulator.url, "--crashes", "5", "--parallel", "2", "--scenario", "engine"
        )

        assert code == 0
        assert report["total"]["jobs"] == len(emulator.journal("create")) > 0
