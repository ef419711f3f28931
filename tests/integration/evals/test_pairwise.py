"""``PairwiseJudge``: both orders of each pair are asked about, so a judge that favours a place decides nothing."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from airflow_gemini_batch import InputError, redrive
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.evals import PairwiseJudge, Scores, score
from tests.integration.evals.conftest import JUDGE_MODEL, OPTIONS, Model, paid, scored

pytestmark = pytest.mark.integration

Answered = Callable[..., Summary]
RUBRIC = "Which is better for ${expected}?\nA: ${first}\nB: ${second}"


def numbers(prompt: str) -> tuple[int, int]:
    """The numbers in the two answers that a prompt shows."""
    first, second = (int(re.sub(r"\D", "", line)) for line in prompt.splitlines()[1:3])
    return first, second


def larger(prompt: str) -> Any:
    first, second = numbers(prompt)
    return {"explanation": f"{first} and {second}", "winner": "first" if first > second else "second"}


@pytest.fixture(autouse=True)
def judging(model: Model) -> None:
    model.words = lambda prompt: larger(prompt) if prompt.startswith("Which") else None


@pytest.fixture
def compared(endpoint: Endpoint) -> Callable[..., Scores]:
    def call(run: Summary, baseline: Any, rubric: str = RUBRIC, options: Any = OPTIONS, **given: Any) -> Scores:
        judge = PairwiseJudge(model=JUDGE_MODEL, baseline=baseline, rubric=rubric, **given)
        return score(run, judge, endpoint=endpoint, options=options)

    return call


def test_an_answer_wins_in_both_orders_or_it_is_a_tie(
    answered: Answered, compared: Callable[..., Scores], emulator: Emulator, model: Model
) -> None:
    baseline = answered(name="baseline", rows=4, body=lambda row: f"number {10 * row}")
    run = answered(rows=4, body=lambda row: f"number {[5, 5, 20, 25][row]}")

    scores = compared(run, baseline.destination)

    rows = scored(run.destination)
    assert [rows[f"k{row}", 0]["score"] for row in range(4)] == [1.0, 0.0, 0.5, 0.0]
    assert rows["k0", 0]["explanation"] == "In first place: better. 5 and 0\nIn second place: better. 0 and 5"
    assert rows["k2", 0]["explanation"] == "The answers are equal."
    totals = scores["pairwise_judge"]
    assert (totals.kind, totals.worst, totals.best, totals.mean) == ("float", 0.0, 1.0, 0.375)
    assert totals.pairs is not None
    assert (totals.pairs.wins, totals.pairs.ties, totals.pairs.losses, totals.pairs.equal) == (1, 1, 2, 1)
    assert (totals.pairs.tie_rate, totals.pairs.first_place_rate) == (0.25, 0.5)
    assert paid(emulator) == len(model.prompts) == 6  # three pairs, each in both orders


def test_a_judge_that_favours_the_first_place_is_found_and_decides_nothing(
    answered: Answered, compared: Callable[..., Scores], model: Model
) -> None:
    dice, options = random.Random(5), {**OPTIONS, "max_shard_requests": 500}

    def favours(prompt: str) -> Any:
        return {"explanation": "as I like", "winner": "first" if dice.random() < 0.9 else "second"}

    model.words = lambda prompt: favours(prompt) if prompt.startswith("Which") else None
    baseline = answered(rows=200, name="baseline", body=lambda row: f"number {row + 1000}", options=options)
    run = answered(rows=200, options=options)

    both = compared(run, baseline, options=options)["pairwise_judge"]
    one = compared(run, baseline, options=options, positions="first")["pairwise_judge"]

    assert both.pairs is not None
    assert one.pairs is not None
    assert both.pairs.first_place_rate == pytest.approx(0.9, abs=0.05)
    assert both.pairs.tie_rate == pytest.approx(0.82, abs=0.08)
    assert both.mean == pytest.approx(0.5, abs=0.06)
    assert one.mean == pytest.approx(0.9, abs=0.07)  # what the docs warn of


def test_the_win_rate_is_of_keys_and_says_which_place_won(
    answered: Answered, compared: Callable[..., Scores], endpoint: Endpoint
) -> None:
    baseline = answered(name="baseline", rows=4, repeats=2, body=lambda row: f"number {10 * row}")
    run = answered(rows=4, repeats=2, body=lambda row: f"number {[5, 5, 20, 35][row]}")
    scores = compared(run, baseline)

    found = scores.win_rate("pairwise_judge")

    assert (found.n, found.wins, found.losses, found.tied, found.missing) == (4, 4, 2, 2, 0)
    assert (found.mean, found.first_place_share) == (0.625, 0.5)
    assert found.low is not None
    assert found.low < 0.5  # four keys show nothing
    one = compared(run, baseline, positions="first")
    with pytest.raises(InputError, match="saw no pairs in both orders"):
        one.win_rate("pairwise_judge")


def test_pairs_without_an_answer_on_a_side_are_missing_with_the_reason(
    answered: Answered, compared: Callable[..., Scores], emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k1",)))
    baseline = answered(name="baseline", rows=3)
    emulator.faults.clear()
    emulator.faults.add(RowFault(do="error", keys=("k2",), code=3))
    run = answered(rows=5, body=lambda row: f"number {row + 50}")
    emulator.faults.clear()

    scores = compared(run, baseline)

    rows = scored(run.destination)
    reasons = {key: (row["status"], row["explanation"]) for (key, _), row in rows.items() if row["score"] is None}
    assert reasons == {
        "k1": ("missing", "baseline: BLOCKED"),
        "k2": ("missing", "REQUEST_ERROR"),
        "k3": ("missing", "baseline: it has no such row"),
        "k4": ("missing", "baseline: it has no such row"),
    }
    assert (scores["pairwise_judge"].scored, paid(emulator)) == (1, 2)


def test_repeats_are_compared_with_the_same_repeat(
    answered: Answered, compared: Callable[..., Scores], emulator: Emulator
) -> None:
    baseline = answered(name="baseline", rows=3, repeats=2)
    run = answered(rows=3, repeats=3, body=lambda row: f"number {row + 50}")

    scores = compared(run, baseline)

    rows = scored(run.destination)
    assert {row for row, said in rows.items() if said["status"] == "missing"} == {(f"k{row}", 2) for row in range(3)}
    assert (scores["pairwise_judge"].mean, scores["pairwise_judge"].scored) == (1.0, 6)
    assert paid(emulator) == 6  # the repeats' answers are equal here, so their questions are


def test_a_pair_with_one_verdict_is_an_error(answered: Answered, compared: Callable[..., Scores], emulator: Emulator) -> None:
    baseline = answered(name="baseline", rows=2)
    run = answered(rows=2, body=lambda row: f"number {row + 50}")
    emulator.faults.add(RowFault(do="safety", keys=("k1#second",)))

    compared(run, baseline)

    rows = scored(run.destination)
    assert (rows["k0", 0]["score"], rows["k1", 0]["status"]) == (1.0, "error")
    assert rows["k1", 0]["explanation"].startswith("no verdict: BLOCKED")


def test_the_baseline_is_a_part_of_what_is_scored(
    answered: Answered, compared: Callable[..., Scores], emulator: Emulator, endpoint: Endpoint
) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1",), code=13))
    baseline = answered(name="baseline", rows=3)
    emulator.faults.clear()
    run = answered(rows=3, body=lambda row: f"number {row + 50}")
    assert compared(run, baseline)["pairwise_judge"].missing == 1
    before = paid(emulator)
    assert compared(run, baseline)["pairwise_judge"].missing == 1
    assert paid(emulator) == before == 4

    redrive(baseline.destination, options=OPTIONS, endpoint=endpoint)

    assert compared(run, baseline.destination)["pairwise_judge"].scored == 3
    assert paid(emulator) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"answer": "gold"}, "reads the column 'gold'"),
        ({"answer": "body"}, "answer is 'body', which the results of .*baseline do not have"),
        ({"rubric": "A: ${first} B: ${second} ${gold}"}, "reads the column 'gold'"),
        ({"rubric": "A: ${first}"}, r"rubric does not name \$\{second\}"),
        ({"positions": "second"}, "positions is 'second'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    given: dict[str, Any], message: str, answered: Answered, compared: Callable[..., Scores], emulator: Emulator
) -> None:
    run, baseline = answered(rows=1), answered(name="baseline", rows=1, carry=[])

    with pytest.raises(InputError, match=message):
        compared(run, baseline, **given)

    assert paid(emulator) == 0
