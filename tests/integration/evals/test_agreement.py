"""``Scores.agreement``: a judge beside what people say of the same rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.evals import ExactMatch, Judge, Scores, score
from tests.integration.evals.conftest import JUDGE_MODEL, OPTIONS, Model

pytestmark = pytest.mark.integration

#: What the judge says of rows 0 to 11, and what people say.
JUDGED = ["good", "bad", "good", "good", "bad", "good", "good", "bad", "good", "good", "good", "good"]
PEOPLE = ["good", "bad", "bad", "good", "bad", "good", "good", "good", "good", "good", None, "good"]


def number_in(prompt: str) -> int:
    return int(prompt.splitlines()[0].rpartition(" ")[2])


@pytest.fixture
def scores(answered: Callable[..., Summary], emulator: Emulator, endpoint: Endpoint, model: Model) -> Scores:
    """Of a judge that chooses and one that scores; row 11 has no verdict."""

    def words(prompt: str) -> Any:
        if prompt.startswith("Choose"):
            return {"explanation": "so", "choice": JUDGED[number_in(prompt)]}
        return {"explanation": "so", "score": 1 + number_in(prompt) % 3} if prompt.startswith("Rate") else None

    model.words = words
    rows = {
        "id": [f"k{row}" for row in range(12)],
        "body": [f"number {row}" for row in range(12)],
        "expected": [f"number {row}" for row in range(12)],
        "people": PEOPLE,
        "stars": [1 + row % 3 if row != 4 else 1 for row in range(12)],
        "liked": [one == "good" for one in PEOPLE],
    }
    run = answered(source=pa.table(rows), carry=["expected", "people", "stars", "liked"])
    emulator.faults.add(RowFault(do="safety", keys=("k11",)))
    judges = [
        Judge(model=JUDGE_MODEL, rubric="Choose ${text}", choices=["bad", "good"], passes="good", name="chosen"),
        Judge(model=JUDGE_MODEL, rubric="Rate ${text}", scale=(1, 3), name="rated"),
    ]
    return score(run, [*judges, ExactMatch()], endpoint=endpoint, options=OPTIONS)


def test_texts_are_compared_with_choices(scores: Scores) -> None:
    found = scores.agreement("chosen", "people")

    assert (found.n, found.unlabelled, found.percent) == (10, 2, 80.0)
    assert (found.labels, found.table) == (("bad", "good"), ((2, 1), (1, 6)))
    assert found.kappa == pytest.approx((0.8 - 0.58) / 0.42)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.kappa < found.high


def test_numbers_are_compared_with_scores_and_bools_with_what_passed(scores: Scores) -> None:
    rated, liked = scores.agreement("rated", "stars"), scores.agreement("chosen", "liked")

    assert (rated.n, rated.percent, rated.labels) == (11, pytest.approx(1000 / 11), (1.0, 2.0, 3.0))
    assert (liked.n, liked.labels) == (11, (False, True))


def test_labels_may_come_in_a_table_of_their_own(scores: Scores) -> None:
    people = pa.table({"id": [f"k{row}" for row in range(5)], "verdict": PEOPLE[:5]})

    found = scores.agreement("chosen", "verdict", labels=people, label_key="id")

    assert (found.n, found.unlabelled, found.percent) == (5, 7, 80.0)


def test_labels_that_cannot_be_compared_are_refused(scores: Scores) -> None:
    with pytest.raises(InputError, match="The label 'good' is a text, and the scorer has no choices"):
        scores.agreement("rated", "people")
    with pytest.raises(InputError, match=r"column is 'gold', which the results of .* do not have: key"):
        scores.agreement("rated", "gold")
    with pytest.raises(InputError, match="column is 'gold', which the table of labels does not have"):
        scores.agreement("rated", "gold", labels=pa.table({"key": ["k1"], "other": [1]}))
    with pytest.raises(KeyError, match="no scorer 'x'; there are chosen, rated, exact_match"):
        scores.agreement("x", "stars")


def test_scores_that_were_replaced_are_not_read(scores: Scores) -> None:
    for part in Path(scores.uri).glob("part-*"):
        part.unlink()

    with pytest.raises(DestinationError, match="the run was scored again"):
        scores.agreement("rated", "stars")
