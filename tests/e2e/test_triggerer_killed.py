"""The triggerer is killed while both example DAGs wait for their jobs. Nothing is lost, and nothing is paid for twice."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from tests.e2e.harness import Scenario, Stack

#: The first test starts Airflow and waits for both DAG runs, which takes about three minutes on two cores.
pytestmark = pytest.mark.timeout(600)

DAG_IDS = ("describe_stdlib", "describe_stdlib_in_steps")
SHARDS = 3


@pytest.fixture(scope="module")
def scenarios(stack: Stack) -> dict[str, Scenario]:
    """Both DAGs run. The triggerer is killed and restarted once all of their tasks wait for their jobs."""
    one_task, in_steps = scenarios = [stack.start(dag_id) for dag_id in DAG_IDS]
    one_task.wait_for_tasks("describe", "deferred")
    in_steps.wait_for_tasks("wait", "deferred", SHARDS)

    stack.restart("triggerer")

    stack.end_jobs()
    for scenario in scenarios:
        scenario.wait_until_ended()
    return {scenario.dag_id: scenario for scenario in scenarios}


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_the_run_succeeds(scenarios: dict[str, Scenario], dag_id: str) -> None:
    assert {task["state"] for task in scenarios[dag_id].tasks()} == {"success"}
    assert scenarios[dag_id].state == "success"


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_each_shard_has_exactly_one_job(stack: Stack, scenarios: dict[str, Scenario], dag_id: str) -> None:
    creates = stack.emulator.journal("create")

    name_of = {entry["job"]: entry["display_name"] for entry in creates}
    created_under = Counter(entry["display_name"] for entry in creates)
    jobs = scenarios[dag_id].summary["jobs"]
    assert [(job["shard"], job["attempt"], job["state"]) for job in jobs] == [(n, 0, "SUCCEEDED") for n in range(SHARDS)]
    assert [created_under[name_of[job["name"]]] for job in jobs] == [1] * SHARDS


def test_no_other_job_was_created(stack: Stack, scenarios: dict[str, Scenario]) -> None:
    runs = [f" of {scenario.dag_id}/{scenario.run_id}/" for scenario in scenarios.values()]
    created = {entry["job"] for entry in stack.emulator.journal("create") if any(run in entry["display_name"] for run in runs)}

    assert created == {job["name"] for scenario in scenarios.values() for job in scenario.summary["jobs"]}


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_every_key_is_in_one_table_once(scenarios: dict[str, Scenario], dag_id: str) -> None:
    scenario = scenarios[dag_id]
    keys_in = pd.read_parquet(scenario.destination.parent / "stdlib.parquet")["qualified_name"]

    results = pd.read_parquet(scenario.destination / "results")["key"]
    dead_letter = pd.read_parquet(scenario.destination / "dead_letter")

    assert sorted([*results, *dead_letter["key"]]) == sorted(keys_in)
    assert set(dead_letter["reason"]) == {"INVALID_INPUT"}
    assert scenario.summary["balanced"]
    assert (scenario.summary["rows"], scenario.summary["results"]) == (len(keys_in), len(results))
