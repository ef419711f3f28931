"""``repeats`` through the operators: the whole run as one task, and in mapped steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator, JobFault, RowFault
from tests.integration.airflow.conftest import Passes, read
from tests.integration.airflow.test_dags import RunDag
from tests.integration.airflow.test_estimate_operator import Describe

pytestmark = pytest.mark.timeout(240)

EXPECTED = sorted((f"k{row}", repeat) for row in range(12) for repeat in range(3))


def pairs(run: Path) -> list[tuple[str, int]]:
    return sorted((row["key"], row["repeat"]) for row in read(run / "results"))


def test_the_whole_run_as_one_task(describe: Describe, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", code=14, keys=("k3#2",), display_name=r"attempt 0\b"))

    summary = Passes(describe(repeats=3)).finish()

    assert (summary["rows"], summary["results"], summary["repeats"]) == (36, 36, 3)
    assert pairs(tmp_path / "run") == EXPECTED


def test_mapped_steps_and_a_redrive(run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="cancel", display_name="shard 1 attempt 0"))

    ran = run_dag(
        """
        from airflow_gemini_batch import GeminiBatchRedriveOperator

        built = GeminiBatchBuildOperator(
            task_id="build", source=SOURCE, request=GenerateRequest(prompt="Repeat: ${body}"), model=MODEL,
            destination=DESTINATION, key="id", repeats=3, options={"max_shard_requests": 10},
        )
        jobs = GeminiBatchSubmitOperator.partial(task_id="submit").expand(shard=built.output)
        done = GeminiBatchSensor.partial(task_id="wait", options={"poll_interval": 0.2}).expand(job=jobs.output)
        parts = GeminiBatchDownloadOperator.partial(task_id="download").expand(job=done.output)
        finish = GeminiBatchFinishOperator(task_id="finish", destination=DESTINATION)
        parts >> finish
        GeminiBatchRedriveOperator(
            task_id="redrive", destination=finish.output, reasons=["JOB_CANCELLED"], options={"poll_interval": 0.2}
        )
        """,
        SOURCE=source,
        DESTINATION=str(tmp_path / "run"),
    )

    assert (ran.state, ran.errors) == ("success", [])
    assert [shard["requests"] for shard in ran["build"]] == [10, 10, 10, 6]
    assert ran["finish"]["reasons"] == {"JOB_CANCELLED": 10}
    summary: dict[str, Any] = ran["redrive"]
    assert (summary["results"], summary["dead_letter"], summary["repeats"]) == (36, 0, 3)
    assert pairs(tmp_path / "run") == EXPECTED
