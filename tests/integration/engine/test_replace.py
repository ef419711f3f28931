"""Throwing a run away: nothing of it runs on unseen, and nothing that is torn stands in the way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, RowFault
from airflow_gemini_batch.engine.errors import CorruptRunError, RefusedError, WaitTimeoutError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import JobState
from tests.integration.engine.conftest import table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


def states(client: GeminiClient) -> dict[str, JobState]:
    return {job.display_name.partition(" in ")[0].partition(" ")[2]: job.state for job in client.list_jobs()}


def test_jobs_of_rows_that_were_sent_again_are_cancelled_too(go: Go, emulator: Emulator, client: GeminiClient) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1",), code=14), JobFault(do="hang", display_name="attempt 1"))
    with pytest.raises(WaitTimeoutError):
        go(source=table(5), max_redrives=1, timeout=timedelta(seconds=0.5))
    emulator.faults.clear()

    summary = go(source=table(3), if_exists="replace")

    assert summary.results == 3
    assert states(client)["shard 0 attempt 1"] is JobState.CANCELLED


def test_a_job_whose_creation_was_not_recorded_is_cancelled_too(go: Go, emulator: Emulator, client: GeminiClient) -> None:
    emulator.faults.add(
        JobFault(do="hang"),
        HttpFault(do="status", status=504, when="after", path=":batchGenerateContent"),
        HttpFault(do="status", status=400, method="GET", path=r"/batches(\?|$)"),
    )
    with pytest.raises(RefusedError):  # at the look that follows
        go(source=table(5))
    emulator.faults.clear()

    go(source=table(3), if_exists="replace")

    assert [job.state for job in client.list_jobs()] == [JobState.SUCCEEDED, JobState.CANCELLED]


@pytest.mark.parametrize("torn", ["_run/manifest.json", "_run/ledger/00000-0.job.json", "summary.json"])
def test_a_run_with_a_torn_file_can_be_replaced(torn: str, go: Go, tmp_path: Path) -> None:
    go()
    (tmp_path / "run" / torn).write_bytes(b'{"run_id": "4')

    summary = go(source=table(3), if_exists="replace")

    assert (summary.rows, summary.results) == (3, 3)


def test_a_torn_manifest_is_told_and_never_built_over(go: Go, tmp_path: Path) -> None:
    go()
    (tmp_path / "run/_run/manifest.json").write_bytes(b'{"run_id": "4')

    with pytest.raises(CorruptRunError, match=r"manifest\.json is torn.*if_exists='replace'"):
        go()


def test_a_job_that_cannot_be_cancelled_does_not_keep_the_old_run(
    go: Go, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    with pytest.raises(WaitTimeoutError):
        go(timeout=timedelta(seconds=0.3))
    emulator.faults.clear()
    emulator.faults.add(HttpFault(do="status", status=400, method="POST", path=":cancel"))

    assert go(source=table(3), if_exists="replace").rows == 3

    assert "may run on and be billed" in caplog.text
