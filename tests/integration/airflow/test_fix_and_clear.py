"""Fix the prompt or the model and clear the task: what happens to the run that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch import (
    GeminiBatchBuildOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
)
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from tests.integration.airflow.conftest import MODEL, Passes, created, read

Describe = Callable[..., GeminiBatchOperator]

FIXED = GenerateRequest(prompt="Repeat in one line: ${body}")
LONG = "Follow the rules. " * 40


def test_a_fixed_model_replaces_the_run_of_which_nothing_was_submitted(describe: Describe, emulator: Emulator) -> None:
    with pytest.raises(AirflowFailException, match=r"no-such-model"):
        Passes(describe(model="no-such-model")).start()

    summary = Passes(describe()).finish()

    assert (summary["model"], summary["results"], summary["balanced"]) == (MODEL, 12, True)
    assert len(created(emulator)) == 3


def test_a_fixed_prompt_replaces_the_run_of_which_nothing_was_submitted(describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="status", status=400, method="POST", path=":batchGenerateContent", count=1))
    with pytest.raises(AirflowFailException):
        Passes(describe()).start()

    summary = Passes(describe(request=FIXED)).finish()

    assert (summary["results"], summary["balanced"]) == (12, True)


def test_a_fixed_prompt_of_a_submitted_run_is_refused_and_the_error_shows_the_difference(
    describe: Describe, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    Passes(describe(request=GenerateRequest(prompt=f"{LONG}Answer in English: ${{body}}"))).start()

    with pytest.raises(AirflowFailException) as refused:
        Passes(describe(request=GenerateRequest(prompt=f"{LONG}Answer in French: ${{body}}"))).start()

    message = str(refused.value)
    assert "English" in message
    assert "French" in message
    assert "if_exists='replace'" in message
    assert LONG not in message
    assert "\n" not in message
    assert any(record.levelname == "ERROR" and message in record.getMessage() for record in caplog.records)
    assert emulator.journal("cancel") == []
    assert len(created(emulator)) == 3


def test_a_fixed_prompt_with_replace_cancels_the_old_jobs_and_makes_the_tables_anew(
    describe: Describe, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do="hang", count=3))
    Passes(describe(if_exists="replace")).start()

    summary = Passes(describe(if_exists="replace", request=FIXED)).finish()

    assert (summary["results"], summary["balanced"]) == (12, True)
    sent = [line for file in (tmp_path / "run" / "_run" / "requests").iterdir() for line in file.read_text().splitlines()]
    assert ["in one line" in line for line in sent] == [True] * 12
    assert len(read(tmp_path / "run" / "results")) == 12
    assert len(emulator.journal("cancel")) == 3
    assert len(created(emulator)) == 6


def test_a_retry_after_the_replacement_continues_it(describe: Describe, emulator: Emulator) -> None:
    Passes(describe(if_exists="replace")).start()
    Passes(describe(if_exists="replace", request=FIXED)).start()

    summary = Passes(describe(if_exists="replace", request=FIXED)).finish()

    assert summary["balanced"]
    assert len(created(emulator)) == 6


@pytest.mark.parametrize("if_exists", ["resume", "replace"])
def test_in_steps_a_cleared_build_with_another_prompt_does_as_the_one_operator(
    if_exists: str, connect: Any, source: str, tmp_path: Path, emulator: Emulator
) -> None:
    destination = str(tmp_path / "run")

    def build(prompt: str) -> Any:
        return GeminiBatchBuildOperator(
            task_id="build",
            source=source,
            request=GenerateRequest(prompt=prompt),
            model=MODEL,
            destination=destination,
            key="id",
            if_exists=if_exists,  # type: ignore[arg-type]
            options={"max_shard_requests": 5},
        )

    [old, *_] = Passes(build("Repeat: ${body}")).finish()
    emulator.faults.add(JobFault(do="hang", count=1))
    Passes(GeminiBatchSubmitOperator(task_id="submit", shard=old)).finish()

    if if_exists == "resume":
        with pytest.raises(AirflowFailException, match=r"holds another run .*Repeat in one line.*if_exists='replace'"):
            Passes(build("Repeat in one line: ${body}")).finish()
        return
    for shard in Passes(build("Repeat in one line: ${body}")).finish():
        job = Passes(GeminiBatchSubmitOperator(task_id="submit", shard=shard)).finish()
        done = Passes(GeminiBatchSensor(task_id="wait", job=job, options={"poll_interval": 0.1})).finish()
        Passes(GeminiBatchDownloadOperator(task_id="download", job=done)).finish()
    summary = Passes(GeminiBatchFinishOperator(task_id="finish", destination=destination)).finish()

    assert (summary["results"], summary["balanced"]) == (12, True)
    assert len(emulator.journal("cancel")) == 1
