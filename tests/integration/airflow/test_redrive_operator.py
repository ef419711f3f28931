"""A finished run is redriven by a task: into the same tables, and once, however often the task is repeated."""

from __future__ import annotations

import asyncio
import copy
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from airflow.models.taskinstancekey import TaskInstanceKey

from airflow_gemini_batch import GeminiBatchOperator, GeminiBatchRedriveOperator
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, RowFault
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.links import destination_of
from tests.integration.airflow.conftest import Passes, context, created, read
from tests.integration.airflow.test_dags import STEPS, RunDag

Describe = Callable[..., GeminiBatchOperator]

pytestmark = pytest.mark.timeout(240)

OPTIONS = {"poll_interval": 0.1, "max_redrives": 0, "max_dead_letter_ratio": 1.0, "listing_lag": 0.3, "claim_lease": 3.0}
OTHER = context(run_id="another")


@pytest.fixture
def finished(describe: Describe, emulator: Emulator, tmp_path: Path) -> dict[str, Any]:
    """The summary of a run in which the job of k0 to k4 was cancelled, k6 has a retryable error, k7 another one, and k10 was
    blocked."""
    emulator.faults.add(
        JobFault(do="cancel", display_name="shard 0"),
        RowFault(do="error", keys=("k6",), code=14),
        RowFault(do="error", keys=("k7",), code=3),
        RowFault(do="recitation", keys=("k10",)),
    )
    summary = dict(Passes(describe(options={**OPTIONS, "keep_response": False})).finish())
    assert summary["reasons"] == {"BLOCKED": 1, "JOB_CANCELLED": 5, "REQUEST_ERROR": 2}
    emulator.faults.clear()
    return summary


def redrive(destination: Any, **arguments: Any) -> GeminiBatchRedriveOperator:
    options = {**OPTIONS, **arguments.pop("options", {})}
    return GeminiBatchRedriveOperator(task_id="redrive", destination=destination, options=options, **arguments)


def letters(run: Path) -> list[str]:
    return [row["key"] for row in read(run / "dead_letter")]


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_selected_dead_letters_become_results_of_the_same_tables(
    deferrable: bool, finished: dict[str, Any], tmp_path: Path, emulator: Emulator
) -> None:
    before = {row["key"]: row for row in read(tmp_path / "run" / "results")}
    schema = ds.dataset(tmp_path / "run" / "results").schema
    passes = Passes(redrive(finished, reasons=["JOB_CANCELLED"], deferrable=deferrable))

    summary = passes.finish()

    assert (summary["rows"], summary["results"], summary["dead_letter"]) == (12, 9, 3)
    after = {row["key"]: row for row in read(tmp_path / "run" / "results")}
    assert {key: after[key] for key in before} == before
    assert all(row["body"] == f"number {key[1:]}" and row["body"] in row["text"] for key, row in after.items())
    assert ds.dataset(tmp_path / "run" / "results").schema == schema
    assert letters(tmp_path / "run") == ["k10", "k6", "k7"]
    assert bool(passes.events) is deferrable
    assert len(created(emulator)) == len(set(created(emulator))) == 4


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        ({}, ["k0", "k1", "k10", "k2", "k3", "k4", "k7"]),
        ({"keys": ["k7", "k0"]}, ["k1", "k10", "k2", "k3", "k4", "k6"]),
        ({"reasons": ["RECITATION", "JOB_CANCELLED"]}, ["k6", "k7"]),
        ({"reasons": ("{{ 'REQUEST' }}_ERROR",), "keys": ["{{ 'k6' }}"]}, ["k0", "k1", "k10", "k2", "k3", "k4", "k7"]),
    ],
    ids=str,
)
def test_reasons_finish_reasons_and_keys_select(
    selection: dict[str, Any], left: list[str], finished: dict[str, Any], tmp_path: Path
) -> None:
    Passes(redrive(str(tmp_path / "run"), **selection)).finish()

    assert letters(tmp_path / "run") == left


def test_the_finish_offers_the_redrive_of_cancelled_rows_by_name(
    describe: Describe, tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.faults.add(JobFault(do="cancel", display_name="shard 0"))
    run = tmp_path / "a run"

    with caplog.at_level(logging.WARNING):
        Passes(describe(destination=str(run))).finish()

    [offer] = [record.getMessage() for record in caplog.records if "GeminiBatchRedriveOperator" in record.getMessage()]
    assert offer.startswith("5 rows are unanswered because their job was cancelled.")
    assert f"gemini-batch redrive '{run}' --reason JOB_CANCELLED" in offer


@pytest.mark.parametrize("selection", [{"reasons": ["MISSING"]}, {"reasons": ["INVALID_INPUT"]}, {"reasons": []}], ids=str)
def test_without_a_selected_dead_letter_the_task_succeeds(
    selection: dict[str, Any], finished: dict[str, Any], emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        again = Passes(redrive(finished, **selection)).finish()

    assert again == finished
    assert len(created(emulator)) == 3
    assert "is selected, so nothing is done" in caplog.text


def test_a_run_without_any_result_is_no_error_if_nothing_is_selected(describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", code=3))
    finished = Passes(describe(options=OPTIONS)).finish()

    again = Passes(redrive(finished, options={"max_dead_letter_ratio": None})).finish()

    assert again == finished


def test_a_task_killed_between_passes_continues_with_its_jobs(finished: dict[str, Any], emulator: Emulator) -> None:
    for _ in range(2):
        Passes(redrive(finished, reasons=["JOB_CANCELLED"])).start()
    Passes(redrive(finished, reasons=["JOB_CANCELLED"])).start().wait()

    summary = Passes(redrive(finished, reasons=["JOB_CANCELLED"])).finish()

    assert (summary["results"], summary["balanced"]) == (9, True)
    assert len(created(emulator)) == 4


def test_a_cleared_task_resubmits_nothing_although_rows_failed_again(finished: dict[str, Any], emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k6",), code=14))
    first = Passes(redrive(finished)).finish()
    emulator.faults.clear()

    again = Passes(redrive(finished))

    assert again.finish() == first
    assert again.events == []
    assert len(created(emulator)) == 4


def test_a_cleared_task_with_another_selection_and_another_task_redrive_again(
    finished: dict[str, Any], emulator: Emulator
) -> None:
    Passes(redrive(finished, reasons=["JOB_CANCELLED"])).finish()
    Passes(redrive(finished, reasons=["RECITATION"])).finish()

    summary = Passes(redrive(finished, reasons=["REQUEST_ERROR"]), OTHER).finish()

    assert (summary["results"], summary["dead_letter"]) == (12, 0)
    assert len(created(emulator)) == len(set(created(emulator))) == 6


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("nth", range(20))
def test_a_task_that_crashes_while_it_writes_pays_nothing_twice(
    nth: int, finished: dict[str, Any], tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = nth

    def crashing(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(location: Location, *arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return original(location, *arguments)

        return write

    with monkeypatch.context() as patched:
        for method in ("_publish", "_claim", "delete"):
            patched.setattr(Location, method, crashing(getattr(Location, method)))
        with pytest.raises(Crash):
            Passes(redrive(finished, reasons=["JOB_CANCELLED", "REQUEST_ERROR"])).finish()

    summary = Passes(redrive(finished, reasons=["JOB_CANCELLED", "REQUEST_ERROR"])).finish()

    assert (summary["results"], summary["dead_letter"], summary["balanced"]) == (11, 1, True)
    assert letters(tmp_path / "run") == ["k10"]
    assert len(created(emulator)) == len(set(created(emulator))) == 5


def test_a_redrive_that_was_planned_and_not_begun_is_planned_again_after_another_one(
    finished: dict[str, Any], tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(location: Location) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Location, "delete", crash)  # of the summary
        with pytest.raises(Crash):
            Passes(redrive(finished, keys=["k6", "k0"])).start()
    (plan,) = (tmp_path / "run" / "_run" / "redrives").iterdir()
    plan.write_text(re.sub(r'"made_at":[0-9.]+', '"made_at":0.0', plan.read_text()))  # its lease is over
    Passes(redrive(finished, keys=["k7", "k1"]), OTHER).finish()

    Passes(redrive(finished, keys=["k6", "k0"])).finish()

    assert letters(tmp_path / "run") == ["k10", "k2", "k3", "k4"]
    assert len(created(emulator)) == len(set(created(emulator))) == 7


def test_an_unanswered_create_is_looked_up(finished: dict[str, Any], emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="drop", when="after", path=":batchGenerateContent", count=1))

    summary = Passes(redrive(finished, reasons=["JOB_CANCELLED"])).finish()

    assert summary["results"] == 9
    assert len(created(emulator)) == 4


def test_marked_failed_it_cancels_its_jobs_and_cleared_it_resubmits_their_rows(
    finished: dict[str, Any], task_state: Callable[[str], None], emulator: Emulator
) -> None:
    task_state("failed")
    emulator.faults.add(JobFault(do="hang", count=1))
    passes = Passes(redrive(finished, reasons=["JOB_CANCELLED"])).start()

    asyncio.run(passes.trigger.on_kill())
    summary = Passes(redrive(finished, reasons=["JOB_CANCELLED"])).finish()

    assert len(emulator.journal("cancel")) == 1
    assert (summary["results"], summary["balanced"]) == (9, True)
    assert len(created(emulator)) == 5


@pytest.mark.parametrize("password", ["invalid-key-of-someone"])
def test_with_a_wrong_key_the_finished_run_stays_finished(
    password: str, finished: dict[str, Any], connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(password=password)

    with pytest.raises(AirflowFailException, match="API key not valid"):
        Passes(redrive(finished)).start()

    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keys": ["k5"]}, "InputError: 1 keys are not dead letters of .*'k5'"),
        ({"reasons": ["{{ 'BROKEN' }}"]}, "InputError: reasons holds 'BROKEN'; known are"),
        ({"keys": "{{ 'k1' }}"}, "InputError: keys is 'k1'; expected a list"),
        ({"destination": "/nowhere/run"}, "DestinationError: /nowhere/run holds no run"),
        ({"destination": {"uri": "x"}}, "InputError: destination is a dict with 'uri'; expected a summary"),
    ],
    ids=str,
)
def test_what_cannot_be_redriven_is_not_retried(arguments: dict[str, Any], message: str, finished: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match=message):
        Passes(redrive(**{"destination": finished, **arguments})).start()


def test_a_run_that_is_not_finished_is_refused(describe: Describe, tmp_path: Path) -> None:
    Passes(describe()).start()

    with pytest.raises(AirflowFailException, match=r"InputError: .* is not finished"):
        Passes(redrive(str(tmp_path / "run"))).start()


@pytest.mark.parametrize("limit", [1e-9, "1e-9"])
def test_a_redrive_beyond_its_limit_leaves_the_run_finished(
    limit: float | str, finished: dict[str, Any], tmp_path: Path, emulator: Emulator
) -> None:
    jobs = len(created(emulator))
    task = redrive(finished, reasons=["JOB_CANCELLED"], max_cost_usd=1.0)
    task.max_cost_usd = limit  # text after rendering

    with pytest.raises(AirflowFailException, match="are not sent"):
        Passes(task).finish()

    assert (tmp_path / "run" / "summary.json").exists()
    assert len(created(emulator)) == jobs


def test_the_link_leads_to_the_page_which_finds_the_run(finished: dict[str, Any]) -> None:
    task = redrive({**finished, "destination": "s3://lake/run"})
    [link] = task.operator_extra_links
    key = TaskInstanceKey("reviews", "redrive", "today", 1, -1)

    assert link.get_link(copy.copy(task), ti_key=key) == "/dags/reviews/runs/today/tasks/redrive/plugin/gemini-batch-run"
    assert destination_of(task) == "s3://lake/run"


#: Its first try ends as if its worker were gone, after the jobs have been created.
THEN_A_REDRIVE = """
parts >> finish

class CrashesOnce(GeminiBatchRedriveOperator):
    def execute(self, context):
        from airflow_gemini_batch._compat import TaskDeferred
        try:
            return super().execute(context)
        except TaskDeferred:
            if context["ti"].try_number == 1:
                raise RuntimeError("the worker is gone")
            raise

CrashesOnce(
    task_id="redrive", destination=finish.output, reasons=["JOB_CANCELLED"], options={"poll_interval": 0.2}
)
"""


def test_the_mapped_steps_end_with_a_redrive(run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(
        RowFault(do="error", keys=("k1", "k6"), code=14, display_name="attempt 0"),
        JobFault(do="cancel", display_name="shard 2 attempt 0"),
    )

    ran = run_dag(
        STEPS.replace("parts >> Gemini", "finish = Gemini") + THEN_A_REDRIVE, SOURCE=source, DESTINATION=str(tmp_path / "run")
    )

    assert (ran.state, ran.tasks["redrive"]) == ("success", ["success"])
    assert (ran["finish"]["results"], ran["redrive"]["results"], ran["redrive"]["balanced"]) == (8, 10, True)
    assert letters(tmp_path / "run") == ["k1", "k6"], "which were not selected"
    assert len(created(emulator)) == len(set(created(emulator))) == 4


def test_the_redrive_follows_the_one_operator_by_its_output(
    run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k6",), code=14, display_name="attempt 0"))

    ran = run_dag(
        """
        described = GeminiBatchOperator(
            task_id="describe", source=SOURCE, request=GenerateRequest(prompt="Repeat: ${body}"), model=MODEL,
            destination=DESTINATION, key="id", options={"poll_interval": 0.2, "max_redrives": 0},
        )
        GeminiBatchRedriveOperator(task_id="redrive", destination=described.output, options={"poll_interval": 0.2})
        """,
        SOURCE=source,
        DESTINATION=str(tmp_path / "run"),
    )

    assert (ran.state, ran.errors) == ("success", [])
    assert (ran["describe"]["results"], ran["redrive"]["results"]) == (11, 12)
