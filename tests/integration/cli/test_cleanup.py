"""``gemini-batch cleanup``."""

from __future__ import annotations

from tests.integration.cli.conftest import Command, job_names


def test_a_dry_run_changes_nothing_and_prints_what_would_be_done(run: str, gemini_batch: Command) -> None:
    code, lines, _ = gemini_batch("cleanup", run, "--older-than", "0s", "--dry-run")

    assert code == 0
    assert "jobs would be deleted: 2" in lines
    assert len(job_names()) == 2


def test_cleanup_deletes_the_jobs_of_a_finished_run(run: str, gemini_batch: Command) -> None:
    code, lines, _ = gemini_batch("cleanup", run, "--older-than", "0s")

    assert code == 0
    assert lines[0] == "runs: 1 finished, 0 unfinished and left unchanged"
    assert {"jobs deleted: 2", "output files that only the service can delete: 2"} <= set(lines)
    assert job_names() == []
