"""Scores and comparisons as tasks: what they return, what a verdict does, and that a killed task pays for no verdict twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk import DAG

from airflow_gemini_batch import (
    GeminiBatchCompareOperator,
    GeminiBatchOperator,
    GeminiBatchScoreOperator,
    GenerateRequest,
    InputError,
)
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, JobFault
from airflow_gemini_batch.engine.errors import BudgetError
from airflow_gemini_batch.evals import ExactMatch, Judge
from airflow_gemini_batch.links import destination_of
from tests.integration.airflow.conftest import MODEL, Passes, context, created

pytestmark = pytest.mark.timeout(240)

OPTIONS = {"poll_interval": 0.1}
JUDGE = Judge(model="gemini-2.5-flash", rubric="Is ${text} right?", scale=(1, 5), config={"max_output_tokens": 50}, name="judge")


def answer(request: dict[str, Any]) -> Any:
    asked = json.dumps(request)
    if "responseJsonSchema" in asked or "response_json_schema" in asked:
        return json.dumps({"explanation": "because", "score": 4})
    return request["contents"][-1]["parts"][-1]["text"]


@pytest.fixture
def emulator(tmp_path: Path) -> Any:
    with Emulator(tmp_path / "service", answers=answer, pending_seconds=0, running_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def answered(connect: Callable[..., None], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes a run of forty rows, of which some are answered wrongly; returns its summary."""

    def run(name: str, wrong: set[int]) -> dict[str, Any]:
        rows = range(40)
        bodies = ["wrong" if row in wrong else f"number {row}" for row in rows]
        columns = {"id": [f"k{row}" for row in rows], "body": bodies, "expected": [f"number {row}" for row in rows]}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        task = GeminiBatchOperator(
            task_id=name,
            source=str(tmp_path / f"{name}.parquet"),
            request=GenerateRequest(prompt="${body}"),
            model=MODEL,
            destination=str(tmp_path / name),
            key="id",
            carry=["expected"],
            options=OPTIONS,
        )
        return dict(Passes(task).finish())

    return run


class PushingTask(SimpleNamespace):
    """A task instance that remembers what was pushed."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


def pushing() -> tuple[Any, dict[str, Any]]:
    pushed: dict[str, Any] = {}
    given = context()
    given["ti"] = PushingTask(**vars(given["ti"]), pushed=pushed)
    return given, pushed


def compared(**arguments: Any) -> GeminiBatchCompareOperator:
    return GeminiBatchCompareOperator(**{"task_id": "compare", "scorers": ExactMatch(), **arguments})


def test_a_run_is_scored_without_a_connection(
    answered: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = answered("a", {3})
    monkeypatch.delenv("AIRFLOW_CONN_GEMINI_DEFAULT")
    task = GeminiBatchScoreOperator(task_id="score", destination=summary, scorers=[ExactMatch()], name="of-{{ ds }}")

    scores = Passes(task).finish()

    assert (scores["name"], scores["rows"], scores["scorers"][0]["mean"]) == ("of-2026-11-21", 40, 39 / 40)
    assert list((tmp_path / "a" / "scores" / "of-2026-11-21").glob("part-*.parquet"))
    assert destination_of(task) == str(tmp_path / "a")


def test_a_judge_is_asked_once_whatever_happens_to_the_task(answered: Callable[..., dict[str, Any]], emulator: Emulator) -> None:
    summary = answered("a", {3})
    jobs = len(created(emulator))

    def task(**options: Any) -> GeminiBatchScoreOperator:
        return GeminiBatchScoreOperator(task_id="score", destination=summary, scorers=JUDGE, options={**OPTIONS, **options})

    emulator.faults.add(JobFault(model="gemini-2.5-flash", running_seconds=3600))
    with pytest.raises(AirflowFailException, match="timeout"):
        Passes(task(timeout=1)).finish()
    emulator.advance(3600)

    scores = Passes(task()).finish()
    again = Passes(task()).finish()

    assert (scores["scorers"][0]["mean"], scores["judge_cost_usd"] > 0) == (4.0, True)
    assert again == scores
    assert len(created(emulator)) == jobs + 1


def test_a_judge_that_may_cost_too_much_is_not_asked(answered: Callable[..., dict[str, Any]], emulator: Emulator) -> None:
    summary = answered("a", {3})
    jobs = len(created(emulator))
    task = GeminiBatchScoreOperator(
        task_id="score", destination=summary, scorers=JUDGE, max_cost_usd="{{ 0.0000001 }}", options=OPTIONS
    )

    with pytest.raises(AirflowFailException) as raised:
        Passes(task).finish()

    assert isinstance(raised.value.__cause__ or raised.value.__context__, BudgetError)
    assert len(created(emulator)) == jobs


def test_the_numbers_of_a_comparison_are_returned(answered: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    baseline, candidate = answered("a", {3}), answered("b", {5, 6, 7})
    task = compared(baseline=baseline, candidate=candidate, margin=0.5, slices=["expected"])

    outcome = Passes(task).finish()

    [scorer] = outcome["candidates"][0]["scorers"]
    assert (outcome["verdict"], scorer["improved"], scorer["regressed"]) == ("pass", 1, 3)
    assert outcome["uri"] == str(tmp_path / "b" / "comparisons" / "default")
    assert len(json.dumps(outcome)) < 10_000
    assert destination_of(task) == str(tmp_path / "b")


@pytest.mark.parametrize(
    ("wrong", "verdict", "policy", "fails"),
    [
        ({5, 6, 7}, "undecided", {}, False),
        ({5, 6, 7}, "undecided", {"on_undecided": "fail"}, True),
        (set(range(5, 40)), "fail", {}, True),
        (set(range(5, 40)), "fail", {"on_fail": "warn"}, False),
    ],
    ids=["undecided", "undecided-fails", "fail", "fail-warns"],
)
def test_what_a_verdict_does_to_the_task(
    wrong: set[int],
    verdict: str,
    policy: dict[str, Any],
    fails: bool,
    answered: Callable[..., dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    given, pushed = pushing()
    passes = Passes(compared(baseline=answered("a", {3}), candidate=answered("b", wrong), margin=0.02, **policy), given)

    with caplog.at_level(logging.INFO):
        if fails:
            with pytest.raises(AirflowFailException, match=f"The verdict is {verdict}. .*All of it is in "):
                passes.finish()
            outcome = pushed["return_value"]
        else:
            outcome = passes.finish()
            assert f"The verdict is {verdict}. " in "".join(
                record.getMessage() for record in caplog.records if record.levelname == "WARNING"
            )

    assert outcome["verdict"] == verdict
    assert outcome["candidates"][0]["scorers"][0]["gate"]["margin"] == 0.02


def test_several_candidates(answered: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    runs = [answered(name, wrong) for name, wrong in (("a", {3}), ("b", {3}), ("c", {3, 4}))]

    outcome = Passes(compared(baseline=runs[0], candidate=runs[1:], name="all", margin=0.9)).finish()

    assert [one["candidate"]["run"] for one in outcome["candidates"]] == [str(tmp_path / "b"), str(tmp_path / "c")]
    assert outcome["uri"] == str(tmp_path / "b" / "comparisons" / "all")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": -1}, "margin is -1; expected a number from 0"),
        ({"margin": {"exact_match": True}}, "margin is {'exact_match': True}; expected a number from 0"),
        ({"on_fail": "skip"}, "on_fail is 'skip'; expected 'fail' or 'warn'"),
        ({"on_undecided": None}, "on_undecided is None; expected 'fail' or 'warn'"),
        ({"baseline": 3}, "baseline is 3; expected the destination of a finished run"),
        ({"candidate": []}, r"candidate is \[\]; expected the destination of a finished run"),
        ({"scorers": [ExactMatch(), ExactMatch()]}, "Two scorers have the name 'exact_match'"),
        ({"options": {"poll": 1}}, "poll"),
        ({"max_cost_usd": 0}, "max_cost_usd is 0"),
    ],
    ids=str,
)
def test_what_cannot_be_valid_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compared(**{"baseline": "a", "candidate": "b", **arguments})


def test_a_mapped_task_is_checked_when_the_dag_is_parsed_too() -> None:
    with pytest.raises(InputError, match="on_fail is 'skip'"):
        GeminiBatchCompareOperator.partial(task_id="compare", baseline="a", on_fail="skip")


def test_candidates_of_other_tasks_make_dependencies() -> None:
    with DAG("d", schedule=None):
        runs = [
            GeminiBatchOperator(
                task_id=name, source="x.parquet", request=GenerateRequest(prompt="p"), model=MODEL, destination=f"/out/{name}"
            )
            for name in ("a", "b", "c")
        ]
        task = compared(baseline=runs[0].output, candidate=[runs[1].output, runs[2].output])

    assert task.upstream_task_ids == {"a", "b", "c"}
