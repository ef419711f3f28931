"""The progress that the demo displays while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from airflow_gemini_batch.demo.follow import task_step
from airflow_gemini_batch.demo.progress import ProgressDisplay


def test_without_a_terminal_each_change_prints_one_line() -> None:
    output = io.StringIO()

    with ProgressDisplay(Console(file=output)) as display:
        display.update("Job 1", "working", "RUNNING", done=1, total=3)
        display.update("Job 1", "working", "RUNNING", done=2, total=3)
        display.update("Job 1", "done", "SUCCEEDED", done=3, total=3)

    assert [line.split("  ")[-1] for line in output.getvalue().splitlines()] == ["Job 1: RUNNING", "Job 1: SUCCEEDED"]


def test_a_terminal_shows_the_number_of_rows_done() -> None:
    output = io.StringIO()

    with ProgressDisplay(Console(file=output, force_terminal=True, width=80)) as display:
        display.update("Job 1", "working", "RUNNING", done=1_200, total=2_000)

    assert "1,200 of 2,000 rows" in output.getvalue()


@pytest.mark.parametrize(
    ("state", "try_number", "step"),
    [
        ("deferred", 1, ("working", "deferred: waits in the triggerer and uses no worker")),
        ("running", 2, ("working", "running in a worker (try 2)")),
        ("success", 1, ("done", "success")),
        ("state of a later Airflow", 1, ("working", "state of a later Airflow")),
    ],
)
def test_a_task_state_is_displayed_in_words(state: str, try_number: int, step: tuple[str, str]) -> None:
    assert task_step(state, try_number) == step
