"""Four runs of one small table, each disturbed in another way. Then the scheduler is killed while the remaining ones wait.

Each scenario uses another model, which identifies its jobs in the emulator's journal.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pandas as pd
import pytest

from airflow_gemini_batch.emulator import HttpFault
from tests.e2e.harness import Scenario, Stack

#: The first end-to-end test of a session starts Airflow, and any test may be the first.
pytestmark = pytest.mark.timeout(600)

WORKER_KILLED, CLEARED, MARKED_FAILED, UNTOUCHED = MODELS = (
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-2.0-flash",
)
#: The scenarios whose runs succeed.
FINISHED = (WORKER_KILLED, CLEARED, UNTOUCHED)
SHARDS = 3
ROWS = 12

Entries = list[dict[str, Any]]


@pytest.fixture(scope="module")
def scenarios(stack: Stack) -> dict[str, Scenario]:
    # The second create of this scenario takes effect, but its answer is delayed.
    create = f"models/{WORKER_KILLED}:batchGenerateContent"
    stack.emulator.faults.add(HttpFault(do="delay", seconds=45, path=create, when="after", nth=2))
    scenarios = {model: stack.start("small_table", model=model) for model in MODELS}

    scenario = scenarios[WORKER_KILLED]
    scenario.wait_until(lambda: len(_journal(stack, "create", WORKER_KILLED)) == 2, "the create whose answer is delayed")
    [task] = scenario.wait_for_tasks("describe", "running")
    scenario.kill_worker(task)

    for model in (CLEARED, MARKED_FAILED):
        scenarios[model].wait_until_watched("describe")
    scenarios[CLEARED].clear("describe")
    scenarios[MARKED_FAILED].set_state("describe", "failed")
    scenarios[CLEARED].wait_until(
        lambda: scenarios[CLEARED].tasks("describe")[0]["try_number"] > 1, "the cleared task's next try"
    )
    scenario.wait_until(lambda: len(_journal(stack, "cancel", MARKED_FAILED)) == SHARDS, "the failed task's jobs to be cancelled")
    for model in FINISHED:
        scenarios[model].wait_for_tasks("describe", "deferred")

    stack.restart("scheduler")

    stack.end_jobs()
    for scenario in scenarios.values():
        scenario.wait_until_ended()
    return scenarios


@pytest.mark.parametrize("model", FINISHED)
def test_the_run_succeeds(scenarios: dict[str, Scenario], model: str) -> None:
    assert scenarios[model].state == "success"


@pytest.mark.parametrize("model", FINISHED)
def test_every_key_has_a_result(scenarios: dict[str, Scenario], model: str) -> None:
    scenario = scenarios[model]

    keys = pd.read_parquet(scenario.destination / "results")["key"]

    assert sorted(keys) == sorted(f"k{number}" for number in range(ROWS))
    assert (scenario.summary["results"], scenario.summary["dead_letter"], scenario.summary["balanced"]) == (ROWS, 0, True)


@pytest.mark.parametrize("model", MODELS)
def test_each_shard_and_attempt_has_one_job(stack: Stack, scenarios: dict[str, Scenario], model: str) -> None:
    created = Counter(entry["display_name"] for entry in _journal(stack, "create", model))

    assert set(created.values()) == {1}
    assert len(created) == SHARDS


def test_the_unanswered_job_was_adopted(scenarios: dict[str, Scenario]) -> None:
    scenario = scenarios[WORKER_KILLED]

    records = [json.loads((scenario.destination / f"_run/ledger/{n:05d}-0.job.json").read_text()) for n in range(SHARDS)]

    assert [record["adopted"] for record in records] == [False, True, False]
    assert scenario.tasks("describe")[0]["try_number"] > 1


def test_the_cleared_task_kept_its_jobs(stack: Stack, scenarios: dict[str, Scenario]) -> None:
    assert _journal(stack, "cancel", CLEARED) == []
    assert scenarios[CLEARED].tasks("describe")[0]["try_number"] > 1


def test_the_jobs_of_the_failed_task_were_cancelled_and_the_ledger_says_why(stack: Stack, scenarios: dict[str, Scenario]) -> None:
    folder = scenarios[MARKED_FAILED].destination / "_run" / "ledger"

    records = [json.loads((folder / f"{n:05d}-0.cancel.json").read_text()) for n in range(SHARDS)]

    assert {record["why"] for record in records} == {"killed"}
    jobs = {entry["job"] for entry in _journal(stack, "create", MARKED_FAILED)}
    states = {job["name"]: job["state"] for job in stack.emulator.jobs()}
    assert {states[job] for job in jobs} == {"BATCH_STATE_CANCELLED"}


def test_the_run_that_was_marked_as_failed_stays_failed_and_has_no_summary(scenarios: dict[str, Scenario]) -> None:
    scenario = scenarios[MARKED_FAILED]

    assert scenario.state == "failed"
    assert not (scenario.destination / "summary.json").exists()


def _journal(stack: Stack, action: str, model: str) -> Entries:
    """The journal's entries for the jobs of one scenario."""
    jobs = {entry["job"] for entry in stack.emulator.journal("create") if entry["model"].endswith(model)}
    return [entry for entry in stack.emulator.journal(action) if entry["job"] in jobs]
