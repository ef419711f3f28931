"""Four runs of one small table, each hit by something else, and then the scheduler dies while all that are left wait.

Each story asks another model, so that the emulator's journal tells whose a job is.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pandas as pd
import pytest

from airflow_gemini_batch.emulator import HttpFault
from tests.e2e.harness import Stage, Story

#: As in the other stories: whichever is the first brings Airflow up.
pytestmark = pytest.mark.timeout(600)

WORKER_KILLED, CLEARED, MARKED_FAILED, UNTOUCHED = MODELS = (
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-2.0-flash",
)
#: What runs on to its end.
FINISHED = (WORKER_KILLED, CLEARED, UNTOUCHED)
SHARDS = 3
ROWS = 12

Entries = list[dict[str, Any]]


@pytest.fixture(scope="module")
def stories(stage: Stage) -> dict[str, Story]:
    # The second create of this one is done, and its answer does not come.
    create = f"models/{WORKER_KILLED}:batchGenerateContent"
    stage.emulator.faults.add(HttpFault(do="delay", seconds=45, path=create, when="after", nth=2))
    stories = {model: stage.begin("small_table", model=model) for model in MODELS}

    story = stories[WORKER_KILLED]
    story.wait_until(lambda: len(_journal(stage, "create", WORKER_KILLED)) == 2, "the create that is not answered")
    [task] = story.wait_for_tasks("describe", "running")
    story.kill_worker(task)

    for model in (CLEARED, MARKED_FAILED):
        stories[model].wait_until_watched("describe")
    stories[CLEARED].clear("describe")
    stories[MARKED_FAILED].set_state("describe", "failed")
    story.wait_until(lambda: len(_journal(stage, "create", CLEARED)) == 2 * SHARDS, "the cleared task to send again")
    story.wait_until(lambda: len(_journal(stage, "cancel", MARKED_FAILED)) == SHARDS, "the failed task's jobs to be cancelled")
    for model in FINISHED:
        stories[model].wait_for_tasks("describe", "deferred")

    stage.restart("scheduler")

    stage.end_jobs()
    for story in stories.values():
        story.wait_until_ended()
    return stories


@pytest.mark.parametrize("model", FINISHED)
def test_the_run_ends_well(stories: dict[str, Story], model: str) -> None:
    assert stories[model].state == "success"


@pytest.mark.parametrize("model", FINISHED)
def test_the_books_balance(stories: dict[str, Story], model: str) -> None:
    story = stories[model]

    keys = pd.read_parquet(story.destination / "results")["key"]

    assert sorted(keys) == sorted(f"k{number}" for number in range(ROWS))
    assert (story.summary["results"], story.summary["dead_letter"], story.summary["balanced"]) == (ROWS, 0, True)


@pytest.mark.parametrize("model", MODELS)
def test_each_shard_and_attempt_has_one_job(stage: Stage, stories: dict[str, Story], model: str) -> None:
    created = Counter(entry["display_name"] for entry in _journal(stage, "create", model))

    assert set(created.values()) == {1}
    assert len(created) == SHARDS * (2 if model == CLEARED else 1)


def test_the_unanswered_job_was_adopted(stories: dict[str, Story]) -> None:
    story = stories[WORKER_KILLED]

    records = [json.loads((story.destination / f"_run/ledger/{n:05d}-0.job.json").read_text()) for n in range(SHARDS)]

    assert [record["adopted"] for record in records] == [False, True, False]
    assert story.tasks("describe")[0]["try_number"] > 1


@pytest.mark.parametrize("model", [CLEARED, MARKED_FAILED])
def test_the_first_jobs_were_cancelled_and_the_ledger_says_why(stage: Stage, stories: dict[str, Story], model: str) -> None:
    folder = stories[model].destination / "_run" / "ledger"

    records = [json.loads((folder / f"{n:05d}-0.cancel.json").read_text()) for n in range(SHARDS)]

    assert {record["why"] for record in records} == {"killed"}
    first = {entry["job"] for entry in _journal(stage, "create", model) if entry["display_name"].endswith("attempt 0")}
    states = {job["name"]: job["state"] for job in stage.emulator.jobs()}
    assert {states[job] for job in first} == {"BATCH_STATE_CANCELLED"}


def test_no_two_jobs_for_the_same_rows_were_alive(stage: Stage, stories: dict[str, Story]) -> None:
    cancelled_at = {entry["job"]: entry["time"] for entry in reversed(_journal(stage, "cancel", CLEARED))}
    created = {entry["display_name"].split(" ", 1)[1]: entry for entry in _journal(stage, "create", CLEARED)}

    for shard in range(SHARDS):
        first, second = (created[f"shard {shard} attempt {attempt}"] for attempt in range(2))
        assert cancelled_at[first["job"]] <= second["time"]


def test_the_run_that_was_marked_as_failed_stays_so_and_can_be_resumed(stories: dict[str, Story]) -> None:
    story = stories[MARKED_FAILED]

    assert story.state == "failed"
    assert not (story.destination / "summary.json").exists()


def _journal(stage: Stage, action: str, model: str) -> Entries:
    """What was done to the jobs of one story."""
    jobs = {entry["job"] for entry in stage.emulator.journal("create") if entry["model"].endswith(model)}
    return [entry for entry in stage.emulator.journal(action) if entry["job"] in jobs]
