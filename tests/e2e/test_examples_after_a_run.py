"""The example DAGs that follow a finished run: one reads its event, one alerts, and one asks a person and resubmits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from airflow_gemini_batch.demo.rest import wait_for
from airflow_gemini_batch.emulator import RowFault
from tests.e2e.harness import Scenario, Stack

#: Run alone, this module has to start Airflow.
pytestmark = pytest.mark.timeout(600)


def run_of(stack: Stack, dag_id: str, folder: Path) -> Scenario:
    """The run of a DAG that the asset's event has started.

    :param folder: of the run that the event is of.
    """
    [run] = wait_for(lambda: stack.airflow.rest.call("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"], f"a run of {dag_id}", 120.0)
    scenario = Scenario(stack, dag_id, run["dag_run_id"], folder)
    stack.scenarios.append(scenario)
    return scenario


@pytest.fixture(scope="module")
def finished(stack: Stack) -> Scenario:
    """A finished run, of which one of four rows is a dead letter. The row would be answered if it was sent again."""
    for dag_id in ("read_the_event", "alert_dead_letters", "review_dead_letters"):
        stack.airflow.rest.wait_for_dag(dag_id)
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
    assert expected in stack.airflow.rest.log(run.dag_id, run.run_id, "check", 1)


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
