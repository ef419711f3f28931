"""``gemini-batch costs`` adds up the summaries of all runs below a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch import GenerateRequest, Summary, run_batch
from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.errors import RefusedError
from tests.integration.cli.conftest import Command

RATES = {"input": 1.0, "output": 2.0}
OPTIONS = {"poll_interval": 0.05, "prices": {"gemini-3.6-flash": RATES, "gemini-2.5-pro": RATES}}


def go(destination: Path, model: str = "gemini-3.6-flash", rows: int = 2, **labels: str) -> Summary:
    source = [{"body": f"number {number}"} for number in range(rows)]
    return run_batch(
        source, GenerateRequest(prompt="${body}"), model=model, destination=str(destination), labels=labels, options=OPTIONS
    )


@pytest.fixture
def runs(emulator: Emulator, tmp_path: Path) -> list[Summary]:
    lake = tmp_path / "lake"
    return [
        go(lake / "search" / "a", team="search", env="prod"),
        go(lake / "search" / "b", "gemini-2.5-pro", 3, team="search"),
        go(lake / "c", team="ads"),
        go(lake / "d", "gemini-3.5-flash"),  # without a known price
    ]


def test_runs_are_added_up_by_model(runs: list[Summary], gemini_batch: Command, tmp_path: Path) -> None:
    code, lines, error = gemini_batch("costs", str(tmp_path / "lake"))

    rows = [line.split("\t") for line in lines]
    assert code == 0
    assert [row[:3] for row in rows] == [
        ["gemini-2.5-pro", "1", "3"], ["gemini-3.5-flash", "1", "2"], ["gemini-3.6-flash", "2", "4"],
    ]  # fmt: skip
    assert [row[3] for row in rows] == [f"{runs[1].cost.usd:.6f}", "", f"{usd(runs[0], runs[2]):.6f}"]
    assert rows[1][-1] == "2 requests"
    assert error == (
        f"4 runs, 9 rows: {usd(*runs):.6f}, without 2 requests of unknown cost and 1 runs of which nothing is known\n"
    )


def usd(*summaries: Summary) -> float:
    return math.fsum(summary.cost.usd or 0 for summary in summaries)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("label.team", {"": 1, "ads": 1, "search": 2}),
        ("label", {"": 1, "env=prod, team=search": 1, "team=ads": 1, "team=search": 1}),
        ("day", {"today": 4}),
    ],
)
def test_runs_are_added_up_by_labels_and_days(
    by: str, expected: dict[str, int], runs: list[Summary], gemini_batch: Command, tmp_path: Path
) -> None:
    _, lines, _ = gemini_batch("costs", str(tmp_path / "lake"), "--by", by, "--json")

    report: dict[str, Any] = json.loads("\n".join(lines))
    today = runs[0].started_at[:10]
    assert {group["by"][by].replace(today, "today"): group["runs"] for group in report["groups"]} == expected
    assert (report["total"]["usd"], report["total"]["runs"]) == (usd(*runs), 4)


def test_several_names_make_finer_groups(runs: list[Summary], gemini_batch: Command, tmp_path: Path) -> None:
    _, lines, _ = gemini_batch("costs", str(tmp_path / "lake"), "--by", "label.team, model")

    assert [line.split("\t")[:3] for line in lines] == [
        ["", "gemini-3.5-flash", "1"], ["ads", "gemini-3.6-flash", "1"], ["search", "gemini-2.5-pro", "1"],
        ["search", "gemini-3.6-flash", "1"],
    ]  # fmt: skip


def test_one_run_is_a_folder_of_runs_too(runs: list[Summary], gemini_batch: Command, tmp_path: Path) -> None:
    _, lines, _ = gemini_batch("costs", str(tmp_path / "lake/c"), "--by", "run")

    assert [line.split("\t")[0] for line in lines] == [runs[2].destination]


def test_an_unfinished_run_is_named_and_not_counted(emulator: Emulator, gemini_batch: Command, tmp_path: Path) -> None:
    go(tmp_path / "lake/a")
    emulator.faults.add(HttpFault(do="status", status=400, method="POST", path=":batchGenerateContent"))
    with pytest.raises(RefusedError):
        go(tmp_path / "lake/b")
    (tmp_path / "lake/torn").mkdir()
    (tmp_path / "lake/torn/summary.json").write_text("{")

    _, lines, error = gemini_batch("costs", str(tmp_path / "lake"))

    assert [line.split("\t")[1] for line in lines] == ["1"]
    assert [line.rpartition("/")[2] for line in error.splitlines() if line.startswith("not finished")] == ["b", "torn"]


def test_a_folder_without_runs_costs_nothing(gemini_batch: Command, tmp_path: Path) -> None:
    assert gemini_batch("costs", str(tmp_path)) == (0, [], "0 runs, 0 rows: cost unknown\n")


def test_an_unknown_name_is_one_line(gemini_batch: Command, tmp_path: Path) -> None:
    code, _, error = gemini_batch("costs", str(tmp_path), "--by", "team")

    assert code == 1
    assert error == "Cannot group costs by 'team'; expected model, day, label, run or label.NAME.\n"
