"""The example DAGs that follow a finished run: one reads its event, one alerts, and one asks a person and resubmits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest

from airflow_gemini_batch.demo.rest import wait_for
from airflow_gemini_batch.emulator import RowFault
from tests.e2e.harness import Scenario, Stack

#: Run alone, this module has to start Airflow.
pytestmark = pytest.mark.timeout(600)


def run_of(stack: Stack, dag_id: str, folder: Path, nth: int = 1) -> Scenario:
    """The run of a DAG that the asset's event has started.

    :param folder: of the run that the event is of.
    :param nth: which of the DAG's runs, from 1; it is the last one.
    """

    def found() -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = stack.airflow.rest.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "id"})[
            "dag_runs"
        ]
        return runs if len(runs) == nth else []

    run = wait_for(found, f"run {nth} of {dag_id}", 120.0)[-1]
    scenario = Scenario(stack, dag_id, run["dag_run_id"], folder)
    stack.scenarios.append(scenario)
    return scenario


@pytest.fixture(scope="module")
def finished(stack: Stack) -> Scenario:
    """A finished run, of which one of four rows is a dead letter. The row would be answered if it was sent again."""
    for dag_id in ("read_the_event", "alert_dead_letters", "review_dead_letters"):
        stack.airflow.rest.wait_for_dag(dag_id)
    return finish_one(stack)


def finish_one(stack: Stack) -> Scenario:
    stack.emulator.faults.add(RowFault(do="max_tokens", keys=("cut",), count=1))
    scenario = stack.start("finished_run")
    scenario.wait_until_watched("describe")
    stack.end_jobs()
    assert scenario.wait_until_ended() == "success"
    return scenario


def test_the_reader_gets_counts_and_destination(stack: Stack, finished: Scenario) -> None:
    run = run_of(stack, "read_the_event", finished.folder)

    assert run.wait_until_ended() == "success"
    [extra] = stack.airflow.rest.xcom(run.dag_id, run.run_id, "read")
    assert extra["destination"] == str(finished.destination)
    assert (extra["rows"], extra["results"], extra["reasons"]) == (4, 3, {"TRUNCATED": 1})
    log = stack.airflow.rest.log(run.dag_id, run.run_id, "read", 1)
    assert "3 of 4 rows have a result" in log


def test_the_alert_fails_with_the_reasons_and_without_a_retry(stack: Stack, finished: Scenario) -> None:
    run = run_of(stack, "alert_dead_letters", finished.folder)

    assert run.wait_until_ended() == "failed"
    [check] = run.tasks("check")
    assert check["try_number"] == 1
    expected = f"1 of 4 rows of {finished.destination} are dead letters: TRUNCATED 1"
    log = stack.airflow.rest.log(run.dag_id, run.run_id, "check", 1)
    assert expected in log
    assert "alert_dead_letters · check failed (try 1)" in log  # the notifier's text
    assert f"{finished.destination}/summary.html" in log
    page = f"/dags/finished_run/runs/{quote(finished.run_id, safe='')}/tasks/describe/plugin/gemini-batch-run"
    assert f"{stack.airflow.url}{page}" in log


def test_a_person_has_the_dead_letters_resubmitted(stack: Stack, finished: Scenario) -> None:
    run = run_of(stack, "review_dead_letters", finished.folder)
    [asked] = run.wait_for_tasks("ask", "awaiting_input")
    question = run.call("GET", f"/taskInstances/ask/{asked['map_index']}/hitlDetails")
    assert question["subject"] == f"1 of 4 rows of {finished.destination} are dead letters"
    assert "| TRUNCATED | 1 | " in question["body"]

    run.answer("ask", "Redrive", asked["map_index"])
    run.wait_until_watched("redrive")
    stack.end_jobs()

    assert run.wait_until_ended() == "success"
    assert sorted(pd.read_parquet(finished.destination / "results")["key"]) == ["a", "b", "c", "cut"]
    assert finished.summary["dead_letter"] == 0


def test_a_person_has_the_dead_letters_discarded(stack: Stack, finished: Scenario) -> None:
    again = finish_one(stack)
    run = run_of(stack, "review_dead_letters", again.folder, nth=2)
    [asked] = run.wait_for_tasks("ask", "awaiting_input")

    run.answer("ask", "Discard", asked["map_index"], note="it may stay cut")

    assert run.wait_until_ended() == "success"
    [fact] = [json.loads(file.read_bytes()) for file in (again.destination / "_run" / "ledger").glob("*.discard-*.json")]
    assert (list(fact["keys"]), fact["note"]) == (["cut"], "it may stay cut")
    assert fact["by"] not in ("", "somebody, in Airflow")
    assert again.summary["dead_letter"] == 1
    assert [task["state"] for task in run.tasks("redrive")] == ["skipped"]
