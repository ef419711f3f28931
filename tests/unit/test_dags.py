"""The example DAGs, as Airflow reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 3.1
    from airflow.models.dagbag import DagBag
try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

DAGS = Path(__file__).parents[2] / "dags"
FILES = sorted(DAGS.glob("*.py"))


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    bag = DagBag(DAGS)
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_file_holds_the_dag_of_its_name(dags: dict[str, Any], name: str) -> None:
    assert dags[name].fileloc == str(DAGS / f"{name}.py")


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_the_form_that_airflow_keeps_is_the_same_at_each_parse(dags: dict[str, Any], name: str) -> None:
    # An address in memory would make a new version of the DAG each time.
    assert " at 0x" not in json.dumps(DagSerialization.to_dict(dags[name]))


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_every_task_has_retries(dags: dict[str, Any], name: str) -> None:
    assert all(task.retries >= 1 for task in dags[name].tasks)


def test_the_whole_run_is_one_task_after_the_table_and_its_estimate(dags: dict[str, Any]) -> None:
    dag = dags["describe_stdlib"]

    assert dag.get_task("describe").upstream_task_ids == {"collect_stdlib", "estimate"}
    assert len(dag.tasks) == 3
    assert dag.get_task("estimate").request == dag.get_task("describe").request


def test_the_steps_follow_the_path_of_the_data(dags: dict[str, Any]) -> None:
    dag = dags["describe_stdlib_in_steps"]

    path = ["collect_stdlib", "build", "submit", "wait", "download", "finish", "redrive"]
    assert [dag.get_task(after).upstream_task_ids for after in path[1:]] == [{before} for before in path[:-1]]


def test_the_steps_of_a_shard_are_a_mapped_group(dags: dict[str, Any]) -> None:
    dag = dags["describe_stdlib_in_groups"]

    path = ["build", "one_shard.submit", "one_shard.wait", "one_shard.download", "finish"]
    assert [dag.get_task(after).upstream_task_ids for after in path[1:]] == [{before} for before in path[:-1]]
    assert all(dag.get_task(step).map_index_template for step in path[1:-1])


def test_a_person_is_asked_between_the_trial_and_the_rest(dags: dict[str, Any]) -> None:
    dag = dags["describe_stdlib_after_approval"]

    path = ["trial", "estimate", "approve", "describe"]
    assert [dag.get_task(after).upstream_task_ids - {"collect_stdlib"} for after in path[1:]] == [{name} for name in path[:-1]]
    assert dag.get_task("describe").reuse == dag.get_task("estimate").trial == dag.get_task("trial").destination


@pytest.mark.parametrize("name", ["evaluate_prompts", "nightly_regression"])
def test_runs_are_scored_before_they_are_compared(dags: dict[str, Any], name: str) -> None:
    dag = dags[name]

    assert "answer" in dag.get_task("score").upstream_task_ids
    assert "score" in dag.get_task("compare").get_flat_relative_ids(upstream=True)
    assert dag.get_task("compare").margin


def test_each_prompt_with_each_model_has_a_folder_of_its_own(dags: dict[str, Any]) -> None:
    compare = dags["evaluate_prompts"].get_task("compare")

    destinations = [compare.baseline, *compare.candidate]
    assert len(set(destinations)) == len(destinations) == 4


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("describe_stdlib_in_steps", "build"),
        ("describe_stdlib_in_groups", "build"),
        ("describe_stdlib_by_many_builders", "plan"),
        ("describe_stdlib_after_approval", "trial"),
        ("describe_stdlib_after_approval", "describe"),
    ],
)
def test_all_dags_have_the_same_request(name: str, task: str, dags: dict[str, Any]) -> None:
    one_task = dags["describe_stdlib"].get_task("describe")
    in_steps = dags[name].get_task(task)

    assert one_task.request == in_steps.request
    assert (one_task.model, one_task.key, one_task.carry) == (in_steps.model, in_steps.key, in_steps.carry)
