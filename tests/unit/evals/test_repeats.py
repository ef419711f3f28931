"""pass@k, pass^k and majority: against all subsets, and what they refuse."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals import majority, pass_at_k, pass_k


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=8), min_size=1, max_size=5), st.integers(1, 4))
def test_they_are_the_mean_over_all_choices_of_k_answers(answers: list[list[bool]], k: int) -> None:
    choices = [list(combinations(of_key, k)) for of_key in answers]

    assert pass_at_k(answers, k) == pytest.approx(sum(sum(map(any, one)) / len(one) for one in choices) / len(answers))
    assert pass_k(answers, k) == pytest.approx(sum(sum(map(all, one)) / len(one) for one in choices) / len(answers))


def test_the_majority_passes_and_a_tie_is_one_half() -> None:
    assert majority([[True, True, False], [True, False], [False]]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("answers", "k", "message"),
    [
        ([[True] * 3, [True] * 2], 3, "has 2 answers, fewer than k = 3"),
        ([], 1, "no answers"),
        ([[True]], 0, "k is 0"),
        ([[]], 1, "0 ans"),
    ],
)
def test_k_is_never_made_smaller(answers: Any, k: int, message: str) -> None:
    for metric in (pass_at_k, pass_k):
        with pytest.raises(InputError, match=message):
            metric(answers, k)
