"""``Judge`` and ``PairwiseJudge``: what is asked, and what an answer says."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals import Judge, PairwiseJudge
from airflow_gemini_batch.evals.scorers import as_scorers, score_row

ASKED: dict[str, Any] = {"model": "gemini-3.6-flash", "rubric": "Judge ${text}"}
PAIR: dict[str, Any] = {"model": "gemini-3.6-flash", "rubric": "${first} or ${second}?", "baseline": "lake/a"}


def said(judge: Judge, verdict: Any) -> tuple[float | None, bool | None]:
    judged = score_row(as_scorers(judge)[0], {"explanation": "so", judge.field: verdict})
    return judged.score, judged.passed


@pytest.mark.parametrize(
    ("given", "kind", "bounds", "verdicts"),
    [
        ({"scale": (1, 5)}, "float", (1.0, 5.0), {1: (1.0, None), 5: (5.0, None)}),
        ({"scale": (1, 5), "passes": 4}, "float", (1.0, 5.0), {3: (3.0, False), 4: (4.0, True), 5: (5.0, True)}),
        ({"scale": (5, 1), "passes": 2}, "float", (5.0, 1.0), {3: (3.0, False), 2: (2.0, True), 1: (1.0, True)}),
        ({"scale": (0.0, 1.0), "passes": 0.5}, "float", (0.0, 1.0), {0.25: (0.25, False), 0.5: (0.5, True)}),
        (
            {"choices": ["bad", "fair", "good"]}, "float", (0.0, 1.0),
            {"bad": (0.0, None), "fair": (0.5, None), "good": (1.0, None)},
        ),
        (
            {"choices": ["bad", "fair", "good"], "passes": ["fair", "good"]}, "float", (0.0, 1.0),
            {"bad": (0.0, False), "fair": (0.5, True), "good": (1.0, True)},
        ),
        ({"choices": ["no", "yes"], "passes": "yes"}, "boolean", (None, None), {"no": (0.0, False), "yes": (1.0, True)}),
        ({"choices": ["yes", "no"], "passes": "yes"}, "boolean", (None, None), {"no": (0.0, False), "yes": (1.0, True)}),
        ({"choices": ["no", "yes"]}, "float", (0.0, 1.0), {"no": (0.0, None), "yes": (1.0, None)}),
        (
            {"choices": {"a": 3, "b": -1, "c": 2.5}, "passes": {"a", "c"}}, "float", (-1.0, 3.0),
            {"a": (3.0, True), "b": (-1.0, False), "c": (2.5, True)},
        ),
    ],
)  # fmt: skip
def test_a_verdict_becomes_a_score(
    given: dict[str, Any], kind: str, bounds: tuple[Any, Any], verdicts: dict[Any, tuple[float, bool | None]]
) -> None:
    judge = Judge(**ASKED, **given)
    scorer = judge.scorer()

    assert (scorer.name, scorer.kind, (scorer.worst, scorer.best), scorer.columns) == ("judge", kind, bounds, ("text",))
    assert {verdict: said(judge, verdict) for verdict in verdicts} == verdicts


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one of the two"),
        ({"scale": (1, 5), "choices": ["a", "b"]}, "give one of the two"),
        ({"scale": (1, 1)}, "two different numbers"),
        ({"scale": (1, 5, 7)}, "two different numbers"),
        ({"scale": (0, float("nan"))}, "two different numbers"),
        ({"scale": (0, True)}, "two different numbers"),
        ({"scale": (1, 5), "passes": 6}, "passes is 6; expected the worst score that passes, from 1 to 5"),
        ({"scale": (1, 5), "passes": "good"}, "passes is 'good'"),
        ({"choices": "yes"}, "choices is 'yes'"),
        ({"choices": ["yes"]}, "two or more different"),
        ({"choices": ["yes", "yes"]}, "two or more different"),
        ({"choices": ["yes", 3]}, "expected texts"),
        ({"choices": {"a": 1.0, "b": 1.0}}, "two differ"),
        ({"choices": ["a", "b"], "passes": "c"}, "expected one or some of 'a', 'b'"),
        ({"choices": ["a", "b"], "passes": 3}, "passes is 3"),
        ({"choices": ["a", "b"], "passes": ["a", "b"]}, "not all of them"),
        ({"choices": ["a", "b"], "passes": []}, "some of the choices"),
        ({"choices": ["good", "fair", "bad"], "passes": "good"}, "Turn the choices round"),
        ({"scale": (1, 5), "name": "a/b"}, "name of a judge is 'a/b'"),
        ({"scale": (1, 5), "name": "_x"}, "name of a judge"),
        ({"scale": (1, 5), "rubric": " "}, "rubric is ' '"),
        ({"scale": (1, 5), "rubric": "a ${ b"}, "rubric has a placeholder that names no column"),
        ({"scale": (1, 5), "model": ""}, "model is ''"),
    ],
)
def test_what_contradicts_itself_is_refused_when_it_is_written(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Judge(**{**ASKED, **given})


def test_the_model_explains_before_it_decides_unless_it_is_asked_to_decide_first() -> None:
    first = Judge(**ASKED, scale=(1, 5)).request()
    last = Judge(**ASKED, choices=['a"b', "c$d"], explanation_first=False).request()

    assert list(first.response_schema["properties"]) == first.response_schema["required"] == ["explanation", "score"]  # type: ignore[index]
    assert first.response_schema["properties"]["score"] == {"type": "integer", "minimum": 1, "maximum": 5}  # type: ignore[index]
    assert first.prompt.endswith("then give a score, a whole number from 1 (worst) to 5 (best).")
    assert last.response_schema["required"] == ["choice", "explanation"]  # type: ignore[index]
    assert last.prompt.splitlines()[-1].startswith(r'Give your choice, one of "a\"b", "c$$d", then explain')


def test_a_question_is_the_same_whatever_is_made_of_its_answers_and_another_when_anything_asked_changes() -> None:
    judge = Judge(**ASKED, scale=(1, 5))

    same = [
        Judge(**ASKED, scale=(1, 5), passes=3, name="x"),
        Judge(**{**ASKED, "model": "models/gemini-3.6-flash"}, scale=(5, 1)),
    ]
    other = [
        Judge(**ASKED, scale=(1, 6)),
        Judge(**ASKED, scale=(1, 5), config={"temperature": 0}),
        Judge(**ASKED, scale=(1, 5), system_instruction=None),
        Judge(**{**ASKED, "model": "gemini-2.5-pro"}, scale=(1, 5)),
        Judge(**{**ASKED, "rubric": "Judge: ${text}"}, scale=(1, 5)),
        Judge(**ASKED, scale=(1, 5), explanation_first=False),
    ]

    assert same[0].question == judge.question
    assert len({judge.question, same[1].question, *(one.question for one in other)}) == 2 + len(other)
    assert len({one.scorer().version for one in (judge, *same, *other)}) == 3 + len(other)


def test_columns_are_those_that_the_rubric_and_the_instruction_name() -> None:
    judge = Judge(model="m", rubric="${text} $$5 ${a b} $text", scale=(1, 5), system_instruction="In ${lang}")

    assert judge.named_columns() == ("text", "a b", "lang")


@pytest.mark.parametrize(
    ("in_first", "in_second", "score"),
    [
        ("first", "second", 1.0),
        ("second", "first", 0.0),
        ("first", "first", 0.5),
        ("second", "second", 0.5),
        ("tie", "tie", 0.5),
        ("first", "tie", 0.5),
        ("tie", "first", 0.5),
    ],
)
def test_an_answer_wins_only_in_both_places(in_first: str, in_second: str, score: float) -> None:
    judge = PairwiseJudge(**PAIR)

    judged = score_row(as_scorers(judge)[0], {"first": {"winner": in_first}, "second": {"winner": in_second}})

    assert (judged.score, judged.passed, judged.status) == (score, None, "scored")


def test_long_reasons_for_both_orders_are_kept_in_part() -> None:
    answers = {order: {"winner": "first", "explanation": order * 1000} for order in ("first", "second")}

    explanation = score_row(as_scorers(PairwiseJudge(**PAIR))[0], answers).explanation or ""

    assert len(explanation) <= 2000
    assert "In first place: better. firstfirst" in explanation
    assert "In second place: worse. secondsecond" in explanation
