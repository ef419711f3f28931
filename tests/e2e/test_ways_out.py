"""Every way out of a deferral: a task that goes on keeps its jobs, and one that has ended cancels them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import Scenario, Stack

#: The first test starts Airflow and brings all scenarios to their deferral.
pytestmark = pytest.mark.timeout(900)

SHARDS = 3
CANCELLED = "BATCH_STATE_CANCELLED"


def _fail_another_task(scenario: Scenario) -> None:
    (scenario.folder / "fail").touch()


def _nothing(scenario: Scenario) -> None:
    """Time does it."""


def _delete_run(scenario: Scenario) -> None:
    with pytest.raises(RuntimeError, match="409"):
        scenario.call("DELETE", "")


def _delete_dag(scenario: Scenario) -> None:
    """Airflow 3.3's scheduler ends if a run is deleted while it updates it (StaleDataError: UPDATE statement on table 'dag_run'
    expected to update 6 rows; 5 were matched). A deployment starts it again; here it stands still meanwhile.
    """
    airflow = scenario.stack.airflow
    airflow.terminate_process("scheduler")
    airflow.rest.call("DELETE", f"/dags/{scenario.dag_id}")
    airflow.start_process("scheduler")


#: Ways to end the task: DAG, and what is done.
ENDING: dict[str, tuple[str, Callable[[Scenario], object]]] = {
    "dagrun_timeout": ("way_out_run_timeout", _nothing),
    "fail_fast": ("way_out_fail_fast", _fail_another_task),
    "mark failed": ("small_table", lambda scenario: scenario.set_state("describe", "failed")),
    "mark success": ("small_table", lambda scenario: scenario.set_state("describe", "success")),
    "mark skipped": ("small_table", lambda scenario: scenario.set_state("describe", "skipped")),
    "mark run failed": ("small_table", lambda scenario: scenario.call("PATCH", "", json={"state": "failed"})),
    "mark run success": ("small_table", lambda scenario: scenario.call("PATCH", "", json={"state": "success"})),
    "delete the DAG": ("way_out_deleted", _delete_dag),
}
#: Ways after which the task goes on and Airflow kills its trigger.
KILLING: dict[str, Callable[[Scenario], object]] = {
    "clear the task": lambda scenario: scenario.clear("describe"),
    "clear the run": lambda scenario: scenario.call("POST", "/clear", json={"dry_run": False, "only_failed": False}),
    "delete the task instance": lambda scenario: scenario.call("DELETE", "/taskInstances/describe"),
}
#: Ways after which it goes on and its trigger is not killed.
UNDISTURBED = ("delete the running run", "triggerer SIGTERM")


@pytest.fixture(scope="module")
def scenarios(stack: Stack) -> dict[str, Scenario]:
    scenarios = {name: stack.start(dag_id) for name, (dag_id, _) in ENDING.items()}
    scenarios.update({name: stack.start("small_table") for name in (*KILLING, *UNDISTURBED)})
    for name in (*UNDISTURBED, *KILLING, *ENDING):
        if name != "dagrun_timeout":
            scenarios[name].wait_until_watched("describe")

    deleted = instance(scenarios["delete the task instance"])
    for name, (_, end) in ENDING.items():
        end(scenarios[name])
    for name, kill in KILLING.items():
        kill(scenarios[name])
    _delete_run(scenarios["delete the running run"])
    for name in ENDING:
        scenarios[name].wait_until(lambda name=name: states(scenarios[name]) == {CANCELLED}, f"{name}: its jobs to be cancelled")
    for name in KILLING:
        if name == "delete the task instance":  # its log is overwritten by that of the new instance
            scenarios[name].wait_until(lambda name=name: instance(scenarios[name]) != deleted, f"{name}: a new instance")
            scenarios[name].wait_for_tasks("describe", "deferred")
            continue
        scenarios[name].wait_until(lambda name=name: kept_its_jobs(scenarios[name]), f"{name}: the trigger to keep its jobs")

    stack.restart("triggerer", terminate=True)

    stack.end_jobs()
    for name in (*KILLING, *UNDISTURBED):
        scenarios[name].wait_until_ended()
    return scenarios


@pytest.mark.parametrize("name", ENDING)
def test_a_task_that_has_ended_cancels_its_jobs_and_the_ledger_says_so(scenarios: dict[str, Scenario], name: str) -> None:
    ledger = scenarios[name].destination / "_run" / "ledger"

    assert states(scenarios[name]) == {CANCELLED}
    assert [json.loads(file.read_text())["why"] for file in sorted(ledger.glob("*-0.cancel.json"))] == ["killed"] * SHARDS


@pytest.mark.parametrize("name", [*KILLING, *UNDISTURBED])
def test_a_task_that_goes_on_finishes_with_the_jobs_that_it_had(scenarios: dict[str, Scenario], stack: Stack, name: str) -> None:
    scenario = scenarios[name]
    jobs = {job["name"] for job in scenario.summary["jobs"]}

    assert scenario.state == "success"
    assert (scenario.summary["results"], scenario.summary["balanced"]) == (12, True)
    assert jobs == set(recorded(scenario))
    assert len(jobs) == SHARDS
    assert not [entry for entry in stack.emulator.journal("cancel") if entry["job"] in jobs]


def test_no_shard_has_two_jobs(scenarios: dict[str, Scenario], stack: Stack) -> None:
    created = Counter(entry["display_name"] for entry in stack.emulator.journal("create"))

    assert set(created.values()) == {1}


def instance(scenario: Scenario) -> str | None:
    """The id of the task instance; None while there is none."""
    return next((str(task["id"]) for task in scenario.tasks("describe")), None)


def recorded(scenario: Scenario) -> list[str]:
    """The jobs in a scenario's ledger."""
    ledger = scenario.destination / "_run" / "ledger"
    return [json.loads(file.read_text())["job"] for file in sorted(ledger.glob("*-0.job.json"))]


def states(scenario: Scenario) -> set[str]:
    jobs = recorded(scenario)
    return {job["state"] for job in scenario.stack.emulator.jobs() if job["name"] in jobs}


def kept_its_jobs(scenario: Scenario) -> bool:
    """Whether the killed trigger has said so, in the file of its log."""
    logs: Path = scenario.stack.folder / "airflow" / "logs" / f"dag_id={scenario.dag_id}" / f"run_id={scenario.run_id}"
    return any("The task goes on" in file.read_text(encoding="utf-8") for file in logs.rglob("*.log"))
