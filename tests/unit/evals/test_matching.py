"""What each scorer says of a row."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals import Contains, ExactMatch, JsonMatch, NumericClose, Regex, Scorer
from airflow_gemini_batch.evals.scorers import Judged, as_scorers, score_row

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def said(scorer: Any, **row: Any) -> Judged:
    return score_row(as_scorers(scorer)[0], row)


@pytest.mark.parametrize(
    ("scorer", "expected", "text", "passed"),
    [
        (ExactMatch(), "Paris", " Paris\n", True),
        (ExactMatch(), "Paris", "paris", False),
        (ExactMatch(ignore_case=True), "STRASSE", "straße", True),
        (ExactMatch(), 7, "7", True),
        (ExactMatch(), True, "true", True),
        (Contains(), "Paris", "It is Paris.", True),
        (Contains(), "Paris", "It is Rome.", False),
        (Regex(r"(?i)answer:\s*(\w+)", expected="expected"), "B", "So. Answer: B.", True),
        (Regex(r"answer:\s*(\w+)", expected="expected"), "B", "answer: C", False),
        (Regex(r"^\d+$"), None, "12", True),
        (Regex(r"^\d+$"), None, "12 apples", False),
        (NumericClose(), "1234.5", "First 3, then $1,234.50.", True),
        (NumericClose(take="first"), 3, "First 3, then 4", True),
        (NumericClose(rel_tol=0.01), 100, "99.5", True),
        (NumericClose(), 100, "99.5", False),
        (NumericClose(abs_tol=1), 0, "-0.5", True),
        (NumericClose(), 5, "none", False),
        (JsonMatch("label"), "spam", '{"label": "spam"}', True),
        (JsonMatch("$.items[1].n"), "2", '{"items": [{"n": 1}, {"n": 2}]}', True),
        (JsonMatch('$["two words"]'), 1, '{"two words": 1.0}', True),
        (JsonMatch("ok"), 1, '{"ok": true}', False),
        (JsonMatch("ok"), "true", '{"ok": true}', True),
        (JsonMatch("label"), "spam", "no JSON", False),
        (JsonMatch("label[0]"), "s", '{"label": "spam"}', False),
        (JsonMatch("$"), '{"a": [1]}', '{"a": [1]}', True),
        (ExactMatch(), "x", None, False),
    ],
)
def test_right_and_wrong(scorer: Any, expected: Any, text: str | None, passed: bool) -> None:
    judged = said(scorer, expected=expected, text=text)

    assert (judged.score, judged.passed, judged.status) == (float(passed), passed, "scored")
    assert passed or judged.explanation


def test_structured_answers_come_before_the_text() -> None:
    assert said(JsonMatch("label"), expected="a", parsed={"label": "a"}, text="{}").passed


@pytest.mark.parametrize("scorer", [ExactMatch(), Contains(), NumericClose(), JsonMatch("a"), Regex("a", expected="expected")])
def test_a_row_without_an_expected_value_is_neither_right_nor_wrong(scorer: Any) -> None:
    assert said(scorer, expected=None, text="1") == Judged(None, None, "expected is null", "unlabelled")


def test_an_expected_value_without_a_number_is_an_error_of_the_label() -> None:
    assert said(NumericClose(), expected="many", text="7").status == "error"


def test_functions_return_a_bool_a_float_or_a_dict() -> None:
    assert said(lambda row: row["n"] > 1, n=2) == Judged(1.0, True, None, "scored")
    assert said(lambda row: row["n"] / 4, n=2) == Judged(0.5, None, None, "scored")
    assert said(lambda row: {"score": 0.5, "passed": True, "explanation": "half"}) == Judged(0.5, True, "half", "scored")
    assert said(lambda row: pa.scalar(1).as_py()).score == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.5", {}, [1]])
def test_what_is_no_score_is_an_error_of_the_row(value: Any) -> None:
    judged = said(lambda row: value)

    assert (judged.status, judged.score) == ("error", None)
    assert judged.explanation


def test_an_exception_is_an_error_of_the_row() -> None:
    assert said(lambda row: row["absent"]) == Judged(None, None, "KeyError: 'absent'", "error")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regex("("), "not a regular expression"),
        (lambda: JsonMatch("a["), "path is 'a\\['"),
        (lambda: NumericClose(take="middle"), "expected 'last' or 'first'"),  # type: ignore[arg-type]
        (lambda: NumericClose(rel_tol=-1), "expected 0 or more"),
        (lambda: Scorer("x", len, "float", worst=1.0), "both worst and best"),
        (lambda: Scorer("x", len, "boolean", worst=1.0, best=5.0), "is boolean"),
        (lambda: as_scorers([ExactMatch(), ExactMatch()]), "Two scorers have the name 'exact_match'"),
        (lambda: as_scorers([]), "No scorer"),
        (lambda: as_scorers("exact"), "is not a scorer"),
        (lambda: as_scorers(ExactMatch), "is not a scorer"),
    ],
)
def test_a_wrong_scorer_is_refused_when_it_is_made(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@given(ANYTHING, ANYTHING)
def test_whatever_the_row_holds_each_scorer_says_something_that_can_be_written(expected: Any, text: Any) -> None:
    scorers = [ExactMatch(), Contains(ignore_case=True), NumericClose(), JsonMatch("a[0]"), Regex("a", expected="expected")]
    for scorer in as_scorers(scorers):
        judged = score_row(scorer, {"expected": expected, "text": text})

        assert (judged.score is None) == (judged.status != "scored")
        pa.array([judged.explanation], pa.string())


@given(ANYTHING)
def test_a_value_matches_itself_as_json(value: Any) -> None:
    try:
        text = json.dumps({"a": value}, allow_nan=False)
    except (TypeError, ValueError):
        return
    status = "unlabelled" if value is None else "scored"

    judged = said(JsonMatch("a"), expected=json.loads(text)["a"], text=text)

    assert (judged.status, judged.passed) == (status, True if value is not None else None)


def test_half_a_surrogate_pair_in_an_explanation_can_be_written() -> None:
    judged = said(lambda row: {"score": True, "explanation": "a\ud800b"})

    assert pa.array([judged.explanation], pa.string()).to_pylist() == ["a?b"]
