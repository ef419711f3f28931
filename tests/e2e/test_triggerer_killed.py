"""The triggerer dies while both example DAGs wait for their jobs: nothing is lost, and nothing is paid twice."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from tests.e2e.harness import Stage, Story

#: The first test brings Airflow up and tells the whole story; two cores need about three minutes for it.
pytestmark = pytest.mark.timeout(600)

DAG_IDS = ("describe_stdlib", "describe_stdlib_in_steps")
SHARDS = 3


@pytest.fixture(scope="module")
def stories(stage: Stage) -> dict[str, Story]:
    """Both DAGs run; the triggerer is killed when all of their jobs are being waited for, and started again."""
    one_task, in_steps = stories = [stage.begin(dag_id) for dag_id in DAG_IDS]
    one_task.wait_for_tasks("describe", "deferred")
    in_steps.wait_for_tasks("wait", "deferred", SHARDS)

    stage.restart("triggerer")

    stage.end_jobs()
    for story in stories:
        story.wait_until_ended()
    return {story.dag_id: story for story in stories}


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_the_run_ends_well(stories: dict[str, Story], dag_id: str) -> None:
    assert {task["state"] for task in stories[dag_id].tasks()} == {"success"}
    assert stories[dag_id].state == "success"


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_each_shard_has_exactly_one_job(stage: Stage, stories: dict[str, Story], dag_id: str) -> None:
    creates = stage.emulator.journal("create")

    name_of = {entry["job"]: entry["display_name"] for entry in creates}
    created_under = Counter(entry["display_name"] for entry in creates)
    jobs = stories[dag_id].summary["jobs"]
    assert [(job["shard"], job["attempt"], job["state"]) for job in jobs] == [(n, 0, "SUCCEEDED") for n in range(SHARDS)]
    assert [created_under[name_of[job["name"]]] for job in jobs] == [1] * SHARDS


def test_no_other_job_was_created(stage: Stage, stories: dict[str, Story]) -> None:
    model = next(iter(stories.values())).summary["model"]
    created = {entry["job"] for entry in stage.emulator.journal("create") if entry["model"].endswith(model)}

    assert created == {job["name"] for story in stories.values() for job in story.summary["jobs"]}


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_the_books_balance(stories: dict[str, Story], dag_id: str) -> None:
    story = stories[dag_id]
    keys_in = pd.read_parquet(story.destination.parent / "stdlib.parquet")["qualified_name"]

    results = pd.read_parquet(story.destination / "results")["key"]
    dead_letter = pd.read_parquet(story.destination / "dead_letter")

    assert sorted([*results, *dead_letter["key"]]) == sorted(keys_in)
    assert set(dead_letter["reason"]) == {"INVALID_INPUT"}
    assert story.summary["balanced"]
    assert (story.summary["rows"], story.summary["results"]) == (len(keys_in), len(results))
