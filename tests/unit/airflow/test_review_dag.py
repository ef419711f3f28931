"""The example DAG that asks a person about dead letters: what the answers lead to."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

DAG_FILE = Path(__file__).parents[3] / "dags" / "review_dead_letters.py"


def called(task_id: str, reviews: list[dict[str, Any]], answers: list[dict[str, Any]]) -> Any:
    dag = runpy.run_path(str(DAG_FILE))["ask"].dag
    return dag.get_task(task_id).python_callable(reviews, answers)


def review(destination: str, *reasons: str) -> dict[str, Any]:
    return {"destination": destination, "reasons": list(reasons), "subject": "s", "body": "b"}


def answer(option: str, **more: Any) -> dict[str, Any]:
    return {"chosen_options": [option], **more}


def test_only_runs_with_the_answer_redrive_are_resubmitted() -> None:
    reviews = [review("s3://a", "TRUNCATED"), review("s3://b", "BLOCKED"), review("s3://c", "BLOCKED")]

    chosen = called("to_redrive", reviews, [answer("Leave"), answer("Redrive"), answer("Discard")])

    assert chosen == [{"destination": "s3://b", "reasons": ["BLOCKED"]}]
    assert called("to_redrive", reviews, [answer("Leave")] * 3) == []


def test_a_run_with_nothing_to_resubmit_is_left() -> None:
    assert called("to_redrive", [review("s3://a")], [answer("Redrive")]) == []


def test_only_runs_with_the_answer_discard_are_discarded_by_the_person_who_said_so() -> None:
    reviews = [review("s3://a", "TRUNCATED"), review("s3://b"), review("s3://c", "BLOCKED")]
    ada = {"params_input": {"note": "seen"}, "responded_by_user": {"id": "7", "name": "ada"}}

    chosen = called("to_discard", reviews, [answer("Leave"), answer("Discard", **ada), answer("Redrive")])

    assert chosen == [{"destination": "s3://b", "by": "ada", "note": "seen"}]
    assert called("to_discard", [review("s3://a")], [answer("Discard", params_input=None, responded_by_user=None)]) == [
        {"destination": "s3://a", "by": "somebody, in Airflow", "note": ""}
    ]
