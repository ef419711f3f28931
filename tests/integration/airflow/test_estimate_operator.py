"""An estimate is a task: plain JSON goes on, and its high end is the limit of the run after it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch import GeminiBatchEstimateOperator, GeminiBatchOperator, GenerateRequest
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, RowFault
from tests.integration.airflow.conftest import MODEL, Passes, context, created
from tests.integration.airflow.test_dags import RunDag

Describe = Callable[..., GeminiBatchOperator]

pytestmark = pytest.mark.timeout(240)

PRICES = {MODEL: {"input": 2.0, "output": 10.0}}
REQUEST = GenerateRequest(prompt="On {{ ds }} repeat: ${body}", config={"max_output_tokens": 100})


@pytest.fixture
def say(source: str) -> Callable[..., GeminiBatchEstimateOperator]:
    def say(**arguments: Any) -> GeminiBatchEstimateOperator:
        given = {"source": source, "request": REQUEST, "model": MODEL, "key": "id", "options": {"prices": PRICES}}
        return GeminiBatchEstimateOperator(task_id="estimate", **{**given, **arguments})

    return say


@pytest.fixture
def trial(describe: Describe) -> dict[str, Any]:
    """The summary of a run of a sample."""
    task = describe(request=REQUEST, sample=6, options={"prices": PRICES})
    return dict(Passes(task).finish())


def test_it_needs_no_connection_and_sends_nothing(say: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="airflow_gemini_batch.operators.estimate"):
        found = Passes(say()).finish()

    assert (found["rows"], found["requests"], found["deduplicated"], found["reused"], found["invalid"]) == (12, 12, 0, 0, 0)
    assert found["usd"]["low"] < 0.001 < found["usd"]["high"]
    assert found["usd"]["middle"] is None
    assert "by" in found["usd"]["basis"]
    assert found["output_tokens"]["high"] == 1200
    said = [record.getMessage() for record in caplog.records if record.name.endswith("operators.estimate")]
    assert said == [found["text"]]
    assert re.match(r"12 of 12 rows are sent to gemini-3.6-flash: \$0.00\d+ to \$0.01\d* \(the bytes", found["text"])


def test_a_trial_is_given_by_its_place_or_its_summary(say: Any, trial: dict[str, Any], emulator: Emulator) -> None:
    paid = len(created(emulator))

    by_place = Passes(say(trial=trial["destination"], reuse=trial["destination"])).finish()
    by_summary = Passes(say(trial=trial, reuse=trial["destination"])).finish()

    assert by_place == by_summary
    assert "a trial of 6 draws" in by_place["usd"]["basis"]
    assert by_place["requests"] + by_place["reused"] == 12
    assert by_place["reused"] == trial["results"]
    assert len(created(emulator)) == paid


def test_the_service_counts_where_asked(say: Any, connect: Callable[..., None]) -> None:
    found = Passes(say(count_tokens=4)).finish()

    assert "countTokens" in found["input_tokens"]["basis"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trial": {"uri": "x"}}, "trial is a dict with 'uri'; expected a summary or a URI"),
        ({"trial": "{{ ds }}/nowhere"}, "2026-11-21/nowhere"),
        ({"source": "{{ ds }}/nowhere.parquet"}, "2026-11-21/nowhere.parquet"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_ends_the_task(say: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        Passes(say(**arguments)).finish()


def test_the_high_end_is_a_limit_that_the_run_keeps(say: Any, describe: Describe, trial: dict[str, Any], tmp_path: Path) -> None:
    found = Passes(say(trial=trial, reuse=trial["destination"])).finish()
    given = {"request": REQUEST, "reuse": trial["destination"], "options": {"prices": PRICES}}
    asked = {**context(run_id="whole"), "high": found["usd"]["high"], "less": found["usd"]["high"] * 0.99}

    with pytest.raises(AirflowFailException, match=r"requests may cost .*max_cost_usd is"):
        Passes(describe(destination=str(tmp_path / "less"), max_cost_usd="{{ less }}", **given), asked).finish()
    whole = Passes(describe(destination=str(tmp_path / "whole"), max_cost_usd="{{ high }}", **given), asked).finish()

    assert (whole["results"], whole["reused"]) == (12, trial["results"])


@pytest.mark.parametrize("deferrable", [True, False])
def test_what_is_resubmitted_after_a_wait_is_compared_too(
    deferrable: bool, describe: Describe, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="recitation", keys=("k0",)))
    options = {"prices": PRICES, "redrive_reasons": {"BLOCKED"}, "max_redrives": 1, "redrive_max_output_tokens": 50_000}
    task = describe(request=REQUEST, max_cost_usd=0.4, deferrable=deferrable, options=options)

    with pytest.raises(AirflowFailException, match=r"1 requests are not sent.*max_cost_usd is \$0.40"):
        Passes(task).finish()

    assert len(created(emulator)) == 3
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("rendered", ["None", "", "much", "-1", "nan", "inf", "0"])
def test_a_limit_that_is_rendered_to_something_else_sends_nothing(rendered: str, describe: Describe, emulator: Emulator) -> None:
    with pytest.raises(AirflowFailException, match=r"max_cost_usd is .*expected an amount above 0"):
        Passes(describe(max_cost_usd="{{ limit }}"), {**context(), "limit": rendered}).finish()

    assert created(emulator) == []


def test_a_whole_dag_hands_the_trial_on(run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator) -> None:
    ran = run_dag(
        """
        given = {
            "source": SOURCE, "request": GenerateRequest(prompt="Repeat: ${body}"), "model": MODEL, "key": "id",
            "options": {"poll_interval": 0.2, "prices": {MODEL: {"input": 1.0, "output": 10.0}}},
        }
        trial = GeminiBatchOperator(task_id="trial", sample=4, destination=DESTINATION + "/trial", **given)
        from airflow_gemini_batch import GeminiBatchEstimateOperator

        estimate = GeminiBatchEstimateOperator(task_id="estimate", trial=trial.output, reuse=DESTINATION + "/trial", **given)
        estimate >> GeminiBatchOperator(
            task_id="whole", destination=DESTINATION + "/whole", reuse=DESTINATION + "/trial",
            max_cost_usd="{{ ti.xcom_pull('estimate').usd.high }}", **given,
        )
        """,
        SOURCE=source,
        DESTINATION=str(tmp_path),
    )

    assert (ran.state, ran.errors) == ("success", [])
    assert json.loads(json.dumps(ran["estimate"])) == ran["estimate"]
    assert (ran["whole"]["results"], ran["whole"]["reused"]) == (12, ran["trial"]["results"])
    assert sum(entry["requests"] for entry in emulator.journal("create")) == 12
