"""``gemini-batch jobs``."""

from __future__ import annotations

import re

import pytest

from airflow_gemini_batch.emulator import Emulator, JobFault
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from tests.integration.cli.conftest import Command, job_names


def test_a_list_in_a_pipe_is_tab_separated_and_its_count_goes_to_stderr(run: str, gemini_batch: Command) -> None:
    code, lines, stderr = gemini_batch("jobs", "list", "--state", "succeeded", "--created-after", "1h", "--limit", "1")

    assert code == 0
    name, state, _, done, failed, model, display_name = lines[0].split("\t")
    assert (name in job_names(), state, done, failed, model) == (True, "SUCCEEDED", "1/1", "", "gemini-3.6-flash")
    assert display_name.endswith(f"shard 1 attempt 0 in {run}")
    assert (len(lines), stderr) == (1, "2 jobs; 1 not shown (--limit)\n")


def test_a_list_on_a_terminal_is_a_table(run: str, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    _, lines, _ = gemini_batch("jobs", "list")

    assert re.findall(r"[a-z]+", re.sub(r"\x1b\[[0-9;]*m", "", lines[0]))[:3] == ["name", "state", "age"]
    assert len(lines) >= 3


def test_show_prints_the_fields_that_a_job_has(run: str, gemini_batch: Command) -> None:
    code, lines, _ = gemini_batch("jobs", "show", job_names()[0])

    assert code == 0
    assert {line.split()[0] for line in lines} >= {"name", "state", "requests", "succeeded", "input_file", "output_file"}


def test_jobs_are_cancelled_and_deleted_and_an_error_does_not_stop_the_others(
    emulator: Emulator, run: str, gemini_batch: Command
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    with GeminiClient(Endpoint()) as client:
        file = next(file.name for file in client.list_files() if not file.is_output)
        hanging = client.create_job(model="gemini-3.6-flash", input_file=file, display_name="[red]mine").name
    ended = job_names("SUCCEEDED")[0]

    code, lines, stderr = gemini_batch("jobs", "delete", hanging, ended)
    assert (code, lines) == (1, [f"{ended} deleted"])
    assert "is active" in stderr
    code, lines, _ = gemini_batch("jobs", "cancel", hanging)
    assert code == 0
    assert lines[0].startswith(f"{hanging} BATCH_STATE_CANCELLED")
    assert gemini_batch("jobs", "delete", hanging)[:2] == (0, [f"{hanging} deleted"])
    assert len(job_names()) == 1
