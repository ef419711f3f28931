"""What the demo says while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from airflow_gemini_batch.demo.following import task_step
from airflow_gemini_batch.demo.screen import Screen


def test_without_a_terminal_every_change_is_one_line() -> None:
    said = io.StringIO()

    with Screen(Console(file=said)) as screen:
        screen.show("Job 1", "working", "RUNNING", done=1, total=3)
        screen.show("Job 1", "working", "RUNNING", done=2, total=3)
        screen.show("Job 1", "done", "SUCCEEDED", done=3, total=3)

    assert [line.split("  ")[-1] for line in said.getvalue().splitlines()] == ["Job 1: RUNNING", "Job 1: SUCCEEDED"]


def test_a_terminal_shows_the_rows_done() -> None:
    said = io.StringIO()

    with Screen(Console(file=said, force_terminal=True, width=80)) as screen:
        screen.show("Job 1", "working", "RUNNING", done=1_200, total=2_000)

    assert "1,200 of 2,000 rows" in said.getvalue()


@pytest.mark.parametrize(
    ("state", "try_number", "step"),
    [
        ("deferred", 1, ("working", "deferred: waits in the triggerer and holds no worker")),
        ("running", 2, ("working", "at work in a worker (try 2)")),
        ("success", 1, ("done", "success")),
        ("of a later Airflow", 1, ("working", "of a later Airflow")),
    ],
)
def test_a_task_state_is_said_in_words(state: str, try_number: int, step: tuple[str, str]) -> None:
    assert task_step(state, try_number) == step
