"""The example DAG that asks a person about dead letters: what the answers lead to."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

DAG_FILE = Path(__file__).parents[3] / "dags" / "review_dead_letters.py"


def chosen(reviews: list[dict[str, Any]], answers: list[str]) -> Any:
    dag = runpy.run_path(str(DAG_FILE))["ask"].dag
    return dag.get_task("chosen").python_callable(reviews, [{"chosen_options": [answer]} for answer in answers])


def review(destination: str, *reasons: str) -> dict[str, Any]:
    return {"destination": destination, "reasons": list(reasons), "subject": "s", "body": "b"}


def test_only_runs_with_the_answer_redrive_are_resubmitted() -> None:
    reviews = [review("s3://a", "TRUNCATED"), review("s3://b", "BLOCKED")]

    assert chosen(reviews, ["Leave", "Redrive"]) == [{"destination": "s3://b", "reasons": ["BLOCKED"]}]
    assert chosen(reviews, ["Leave", "Leave"]) == []


def test_a_run_with_nothing_to_resubmit_is_left() -> None:
    assert chosen([review("s3://a")], ["Redrive"]) == []
