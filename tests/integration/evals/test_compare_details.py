"""What ``compare`` says beside the difference: examples, fields, slices, costs, and what was asked differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch import GenerateRequest, InputError, run_batch
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.evals import Contains, ExactMatch, JsonMatch, Judge, Scorer, compare
from tests.integration.evals.conftest import JUDGE_MODEL, MODEL, OPTIONS, Model, paid

pytestmark = pytest.mark.integration

ROWS = 30
SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "grade": {"type": "integer"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}},
    },
    "required": ["answer"],
}

Runs = tuple[str, str]
Ask = Callable[..., str]


@pytest.fixture
def ask(endpoint: Endpoint, tmp_path: Any) -> Ask:
    """Makes a run of questions in three languages; the first ten are German, the last five have no language."""

    def run(name: str, request: GenerateRequest, **given: Any) -> str:
        numbers = range(ROWS)
        table = pa.table(
            {
                "id": [f"q{number}" for number in numbers],
                "question": [f"Question {number}?" for number in numbers],
                "gold": [f"answer {number}" for number in numbers],
                "language": ["de" if number < 10 else "en" if number < 25 else None for number in numbers],
            }
        )
        destination = str(tmp_path / name)
        arguments = {"model": MODEL, "key": "id", "carry": ["question", "gold", "language"], "options": OPTIONS, **given}
        return run_batch(table, request, destination=destination, endpoint=endpoint, **arguments).destination

    return run


def structured(right: Callable[[int], bool], grade: int = 1, lines: int = 2) -> Callable[[str], Any]:
    def answer(prompt: str) -> Any:
        number = int("".join(filter(str.isdigit, prompt)))
        skus = [{"sku": f"s{place}"} for place in range(lines)]
        return {"answer": f"answer {number}" if right(number) else "no idea", "grade": grade + number % 2, "lines": skus}

    return answer


@pytest.fixture
def runs(ask: Ask, model: Model) -> Runs:
    """The baseline is wrong on q3; the candidate on q5, q6, q28 and q29, with one line more in each answer."""
    model.words = structured(lambda number: number != 3)
    first = ask("a", GenerateRequest(prompt="Answer. ${question}", response_schema=SCHEMA, config={"seed": 1}))
    model.words = structured(lambda number: number not in (5, 6, 28, 29), lines=3)
    second = ask(
        "b",
        GenerateRequest(prompt="Answer well. ${question}", response_schema=SCHEMA, config={"seed": 2, "max_output_tokens": 900}),
        repeats=2,
    )
    return first, second


SCORER = JsonMatch("answer", expected="gold", name="json_match")


def test_examples_are_the_worst_regressions_and_the_best_improvements_side_by_side(runs: Runs) -> None:
    found = compare(*runs, scorers=SCORER)

    changes = [(one.change, one.key, one.difference) for one in found.examples]
    regressed = [("regressed", key, -1.0) for key in ("q28", "q29", "q5", "q6")]
    assert sorted(changes) == [("improved", "q3", 1.0), *regressed]
    assert [change for change, _, _ in changes] == ["regressed"] * 4 + ["improved"]
    example = next(one for one in found.examples if one.key == "q5")
    assert (example.baseline.score, example.candidate.score, example.expected) == (1.0, 0.0, "answer 5")
    assert "answer 5" in (example.baseline.text or "")
    assert "no idea" in (example.candidate.text or "")
    assert "no idea" in (example.candidate.explanation or "")
    assert (example.baseline.finish_reason, example.baseline.repeats, example.candidate.repeats) == ("STOP", 1, 2)
    assert example.carried == {"question": "Question 5?", "gold": "answer 5", "language": "de"}
    assert found.examples_left_out == 0


def test_long_texts_of_examples_are_cut(ask: Ask, model: Model) -> None:
    model.words = lambda prompt: "x" * 5000
    first = ask("a", GenerateRequest(prompt="Answer. ${question}"))
    model.words = lambda prompt: "y"
    second = ask("b", GenerateRequest(prompt="Answer. ${question}"))

    found = compare(first, second, scorers=Scorer("length", lambda row: len(row["text"]), "float", version="1"))

    assert [len(found.examples), found.examples_left_out] == [30, 0]
    assert (len(found.examples[0].baseline.text or ""), found.examples[0].baseline.cut) == (2000, 3000)
    assert found.examples[0].candidate.text == "y"


def test_fields_of_structured_answers_are_compared_row_by_row(runs: Runs) -> None:
    found = compare(*runs, scorers=SCORER)

    fields = {one.path: (one.n, one.equal, one.different, one.only_baseline, one.only_candidate) for one in found.fields}
    assert fields == {"answer": (30, 25, 5, 0, 0), "grade": (30, 30, 0, 0, 0), "lines[].sku": (30, 0, 30, 0, 0)}


def test_slices_are_the_values_of_a_carried_column(runs: Runs) -> None:
    found = compare(*runs, scorers=SCORER, slices=["language"])

    slices = {one.value: (one.n, one.improved, one.regressed, one.baseline, one.candidate) for one in found.slices}
    assert slices == {"en": (15, 0, 0, 1.0, 1.0), "de": (10, 1, 2, 0.9, 0.8), None: (5, 0, 2, 1.0, pytest.approx(0.6))}
    assert all(one.column == "language" and one.scorer == "json_match" and not one.rest for one in found.slices)
    assert all(one.difference == pytest.approx((one.candidate or 0) - (one.baseline or 0)) for one in found.slices)


def test_a_column_of_many_values_has_one_slice_of_the_rest(runs: Runs) -> None:
    found = compare(*runs, scorers=SCORER, slices="question")

    [rest] = found.slices
    assert (rest.rest, rest.value, rest.n) == (True, None, 30)


def test_costs_and_tokens_are_compared_as_ratios(runs: Runs) -> None:
    found = compare(*runs, scorers=SCORER)

    amounts = {one.name: one for one in found.amounts}
    cost = amounts["cost_usd"]
    assert cost.n == ROWS
    assert cost.baseline_total == pytest.approx(found.baseline.cost_usd)
    assert cost.candidate_total == pytest.approx(found.candidate.cost_usd)
    assert cost.ratio is not None
    assert cost.ratio > 1  # one line more
    assert amounts["thoughts_tokens"].note.startswith("too few rows: 0")
    assert amounts["seconds"].ratio is None
    assert any(words.startswith("The cost of a key") for words in found.words)


def test_what_was_asked_differently_is_said(runs: Runs) -> None:
    changed = {one.what: (one.baseline, one.candidate) for one in compare(*runs, scorers=SCORER).changed}

    assert changed == {
        "repeats": ("1", "2"),
        "prompt": ("Answer. ${question}", "Answer well. ${question}"),
        "config.seed": ("1", "2"),
        "config.max_output_tokens": ("", "900"),
    }


def test_finish_reasons_and_missing_rows_are_counted_and_warned_about(ask: Ask, emulator: Emulator) -> None:
    first = ask("a", GenerateRequest(prompt="Answer. ${question}"))
    emulator.faults.add(RowFault(do="max_tokens", keys=("q1", "q2")))
    second = ask("b", GenerateRequest(prompt="Answer. ${question}"), model="gemini-2.5-flash")

    found = compare(first, second, scorers=Contains(expected="question"), margin=0.1)

    assert (found.baseline.finish_reasons, found.candidate.finish_reasons) == ({"STOP": 30}, {"STOP": 28})
    assert found.warnings == ("2 keys have no answer in the candidate (TRUNCATED 2); the bounds say what they could change.",)
    [scorer] = found.scorers
    assert (scorer.n, found.verdict, [one.what for one in found.changed]) == (28, "pass", ["model"])
    assert scorer.warnings == ("With every missing answer counted as the worst, the verdict would be 'undecided'.",)


def test_resamples_cross_check_the_interval(runs: Runs) -> None:
    found = compare(*runs, scorers=SCORER, resamples=2000, seed=7)

    [one] = found.scorers
    assert one.bootstrap_ci is not None
    assert one.ci is not None
    assert one.bootstrap_ci == pytest.approx(one.ci, abs=0.05)
    assert one.sign_flip_p == pytest.approx(2 * (1 + 5) / 2**5, abs=0.03)  # one of five changes is an improvement
    assert (found.resamples, found.seed) == (2000, 7)
    with pytest.raises(InputError, match="resamples are drawn key by key"):
        compare(*runs, scorers=SCORER, resamples=10, cluster="language")


def test_repeats_tell_what_varies_within_a_key(answered: Callable[..., Summary], model: Model) -> None:
    asked: dict[str, int] = {}

    def every_second_time(prompt: str) -> Any:
        asked[prompt] = asked.get(prompt, 0) + 1
        return prompt.removeprefix("Repeat: ") if asked[prompt] % 2 else "something else"

    model.words = every_second_time
    first, second = answered(name="a", repeats=2), answered(name="b", repeats=2)

    found = compare(first, second, scorers=ExactMatch())["exact_match"]

    assert (found.n, found.repeats, found.difference) == (12, 2, 0.0)
    assert found.within == pytest.approx(1.0)  # 0.5 on each side
    assert found.between == 0.0


def test_judges_are_asked_of_both_runs_and_their_cost_is_apart(
    answered: Callable[..., Summary], model: Model, endpoint: Endpoint, emulator: Emulator
) -> None:
    def words(prompt: str) -> Any:
        return {"explanation": "because", "score": 2 if "other" in prompt else 5} if prompt.startswith("Judge") else None

    model.words = words
    first = answered(name="a", body=lambda row: "other" if row < 4 else f"number {row}")
    second = answered(name="b")
    judge = Judge(model=JUDGE_MODEL, rubric="Judge ${text}", scale=(1, 5))

    found = compare(first, second, scorers=[judge, ExactMatch()], endpoint=endpoint, options=OPTIONS)
    asked = paid(emulator)
    again = compare(first, second, scorers=[judge, ExactMatch()], endpoint=endpoint, options=OPTIONS, margin=0.5)

    one = found["judge"]
    assert (one.kind, one.worst, one.best, one.improved, one.difference) == ("float", 1, 5, 4, 1.0)
    assert found.examples[0].candidate.explanation == "because"
    assert (found.baseline.judge_cost_usd or 0) > 0
    assert (again["judge"].difference, paid(emulator)) == (1.0, asked)


def test_expected_values_may_come_from_a_table_of_labels(answered: Callable[..., Summary]) -> None:
    first, second = answered(name="a", body=lambda row: "other" if row < 4 else f"number {row}"), answered(name="b")
    labels = pa.table({"id": [f"k{row}" for row in range(10)], "gold": [f"number {row}" for row in range(10)]})

    comparison = compare(first, second, scorers=ExactMatch(expected="gold"), labels=labels, label_key="id")

    found = comparison["exact_match"]
    assert [(one.key, one.expected) for one in sorted(comparison.examples, key=lambda one: one.key)] == [
        (f"k{row}", f"number {row}") for row in range(4)
    ]
    assert (found.n, found.improved) == (10, 4)
    assert found.missing == {"baseline": {"unlabelled": 2}, "candidate": {"unlabelled": 2}}
    assert found.bounds is not None
    assert (found.bounds.low, found.bounds.high) == (0.4, 0.4)


def test_runs_without_any_answer_are_compared_too(answered: Callable[..., Summary], emulator: Emulator) -> None:
    first = answered(name="a")
    emulator.faults.add(RowFault(do="error", code=3))
    second = answered(name="b", options={**OPTIONS, "max_dead_letter_ratio": 1.0})
    emulator.faults.clear()

    found = compare(first, second, scorers=ExactMatch(), margin=0.1)

    one = found["exact_match"]
    assert (one.n, one.difference, found.verdict, one.gate and one.gate.low) == (0, None, "undecided", None)
    assert one.words == "exact_match: nothing can be compared; no key has a score in both runs."
    assert one.bounds is not None
    assert (one.bounds.low, one.bounds.high, one.bounds.as_worst) == (-1.0, 0.0, -1.0)
    assert found.examples == ()
