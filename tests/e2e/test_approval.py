"""A trial, an estimate, a person's answer over Airflow's REST API, and then the rest of the table: nothing is paid for twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from tests.e2e.harness import Scenario, Stack

pytest.importorskip("airflow.providers.standard.operators.hitl", reason="this release of the standard provider has no approvals")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def approved_and_rejected(stack: Stack) -> tuple[Scenario, Scenario]:
    """Two runs of the example, of which a person approves the first and rejects the second."""
    scenarios = tuple(stack.start("describe_stdlib_after_approval") for _ in range(2))
    for scenario in scenarios:
        scenario.wait_for_tasks("trial", "deferred")
    stack.end_jobs()
    for scenario, option in zip(scenarios, ("Approve", "Reject"), strict=True):
        scenario.answer("approve", option)
    scenarios[0].wait_for_tasks("describe", "deferred")
    scenarios[1].wait_until_ended()
    stack.end_jobs()
    scenarios[0].wait_until_ended()
    return scenarios[0], scenarios[1]


def test_approved_it_pays_for_the_rows_beyond_the_trial(approved_and_rejected: tuple[Scenario, Scenario], stack: Stack) -> None:
    scenario, _ = approved_and_rejected
    estimate = stack.airflow.rest.xcom(scenario.dag_id, scenario.run_id, "estimate")
    [trial] = scenario.folder.glob("*/trial")
    whole = scenario.summary

    assert scenario.state == "success"
    assert (whole["balanced"], whole["rows"]) == (True, estimate["rows"])
    assert sum(_paid(stack, trial)) == len(set(_sent(trial))) > 30
    assert sum(_paid(stack, scenario.destination)) == len(set(_sent(scenario.destination))) == estimate["requests"]
    assert not set(_sent(trial)) & set(_sent(scenario.destination))
    assert estimate["reused"] == whole["reused"] >= len(set(_sent(trial)))
    assert estimate["usd"]["low"] < whole["cost"]["usd"] < estimate["usd"]["high"]


def test_the_person_sees_the_estimate(approved_and_rejected: tuple[Scenario, Scenario], stack: Stack) -> None:
    for scenario in approved_and_rejected:
        asked = scenario.call("GET", "/taskInstances/approve/-1/hitlDetails")
        estimate = stack.airflow.rest.xcom(scenario.dag_id, scenario.run_id, "estimate")

        assert asked["subject"] == estimate["text"]
        assert "rows are sent to gemini-3.6-flash: $" in asked["subject"]
        assert asked["body"].count("* ") == len(estimate["notes"])


def test_rejected_nothing_more_is_paid(approved_and_rejected: tuple[Scenario, Scenario], stack: Stack) -> None:
    _, scenario = approved_and_rejected
    [trial] = scenario.folder.glob("*/trial")

    assert [task["state"] for task in scenario.tasks("describe")] == ["skipped"]
    assert list(scenario.folder.glob("*/described")) == []
    assert sum(_paid(stack, trial)) == len(set(_sent(trial)))


def _paid(stack: Stack, run: Path) -> list[int]:
    """Requests of each job of a run, by the emulator's journal."""
    jobs = {json.loads(file.read_text())["job"] for file in (run / "_run" / "ledger").glob("*.job.json")}
    created: list[dict[str, Any]] = stack.emulator.journal("create")
    return [entry["requests"] for entry in created if entry["job"] in jobs]


def _sent(run: Path) -> list[str]:
    """Fingerprints of what a run has sent, by its tables."""
    results = ds.dataset(run / "results").to_table(filter=ds.field("paid_by").is_null() & ds.field("reused_from").is_null())
    letters = ds.dataset(run / "dead_letter").to_table(filter=ds.field("job").is_valid())
    return [str(one) for table in (results, letters) for one in table.column("request_sha256").to_pylist()]
