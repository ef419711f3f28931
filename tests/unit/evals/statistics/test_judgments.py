"""Judges: agreement with people, and wins when both orders were judged; and ratios of skewed amounts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals import Agreement, WinRate, agreement, win_rate
from airflow_gemini_batch.evals.statistics.ratios import paired_ratio

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=80)


@given(LABELS)
def test_kappa_is_that_of_an_independent_library(pairs: list[tuple[str, str]]) -> None:
    found = agreement(*zip(*pairs, strict=True))

    assert found.percent == pytest.approx(100 * np.mean([one == other for one, other in pairs]))
    assert sum(map(sum, found.table)) == found.n == len(pairs)
    if len(found.labels) == 1:
        assert found.kappa is None
    else:
        assert found.kappa == pytest.approx(cohens_kappa(np.array(found.table)).kappa, abs=1e-12)


def test_the_interval_of_kappa_is_near_that_of_large_samples() -> None:
    dice = np.random.default_rng(0)
    human = dice.integers(0, 3, 2000)
    judge = np.where(dice.random(2000) < 0.8, human, dice.integers(0, 3, 2000))

    found = agreement(judge, human)

    oracle = cohens_kappa(np.array(found.table))
    assert (found.low, found.high) == pytest.approx((oracle.kappa_low, oracle.kappa_upp), abs=0.005)
    assert agreement(judge, human, seed=0) == found


def test_agreement_by_prevalence_alone_has_a_kappa_below_zero() -> None:
    judge, human = ["yes"] * 95 + ["no"] * 5, ["yes"] * 90 + ["no"] * 5 + ["yes"] * 5

    found = agreement(judge, human)

    assert (found.percent, found.kappa) == (90.0, pytest.approx(-0.05, abs=0.01))
    assert (found.labels, found.table) == (("no", "yes"), ((0, 5), (5, 90)))


def test_equal_labels_leave_kappa_undefined() -> None:
    found = agreement([True] * 5, [1] * 5)

    assert found == Agreement(5, 0, 100.0, None, None, None, 0.95, (True,), ((5,),))
    assert str(found) == "100.0 % of 5 pairs agree, kappa undefined (all labels are equal)"


def test_pairs_without_a_label_are_counted() -> None:
    found = agreement(["a", None, "b", math.nan], ["a", "b", None, "c"])

    assert (found.n, found.unlabelled, found.labels) == (1, 3, ("a",))
    assert str(agreement([], [])) == "no pairs with both labels"


def test_labels_of_several_types_have_a_table() -> None:
    assert agreement([1, "a", np.int64(2)], [1, "b", "2"]).labels == (1, 2, "2", "a", "b")


@pytest.mark.parametrize(
    ("judge", "human", "message"), [([1], [1, 2], "1 labels and people 2"), ([[1]], [[1]], "A label is a list")]
)
def test_labels_that_are_refused(judge: Any, human: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        agreement(judge, human)


# Wins

WIN, LOSS = ("candidate", "candidate"), ("baseline", "baseline")
FIRST, SECOND = ("candidate", "baseline"), ("baseline", "candidate")


def test_a_win_is_a_win_in_both_orders() -> None:
    found = win_rate([WIN] * 6 + [LOSS] * 2 + [FIRST] * 10 + [SECOND] * 2 + [("tie", "candidate"), (None, "candidate")])  # type: ignore[list-item]

    assert (found.n, found.missing, found.wins, found.losses, found.tied) == (21, 1, 6, 2, 13)
    assert found.mean == pytest.approx((6 + 13 / 2) / 21)
    assert found.ties == pytest.approx(13 / 21)
    # Of 41 judgments with a winner, 6 + 2 + 2 * 10 were won by the first place; the tie has one winner, shown second.
    assert found.first_place_share == pytest.approx((6 + 2 + 20) / 41)
    values = [1] * 6 + [0.5] * 13 + [0] * 2
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp(values, 0.5).confidence_interval()))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0.5).pvalue)


def test_a_judge_that_looks_at_the_position_alone_shows_nothing() -> None:
    found = win_rate([FIRST] * 50)  # type: ignore[list-item]

    assert (found.mean, found.ties, found.first_place_share, found.shown) == (0.5, 1.0, 1.0, False)


def test_wins_without_exception_have_an_interval() -> None:
    found = win_rate([WIN] * 20)  # type: ignore[list-item]

    assert found.high == 1.0
    assert found.low == pytest.approx(1 - (1 - 0.025 ** (1 / 20)))
    assert found.shown


@given(st.lists(st.sampled_from([WIN, LOSS, FIRST, SECOND, ("tie", "tie")]), min_size=2, max_size=40))
def test_swapping_the_sides_mirrors_the_win_rate(verdicts: list[Any]) -> None:
    other = {"candidate": "baseline", "baseline": "candidate", "tie": "tie"}
    there: WinRate = win_rate(verdicts)

    back = win_rate([(other[second], other[first]) for first, second in verdicts])  # type: ignore[misc]

    assert back.mean == pytest.approx(1 - (there.mean or 0))
    assert (back.low, back.high) == pytest.approx((1 - (there.high or 0), 1 - (there.low or 0)))
    assert back.first_place_share == (None if there.first_place_share is None else pytest.approx(there.first_place_share))


def test_no_verdict_has_no_rate_and_a_strange_one_is_refused() -> None:
    assert str(win_rate([(None, "tie")])) == "no key was judged in both orders"
    with pytest.raises(InputError, match="A verdict is 'A'"):
        win_rate([("A", "B")])  # type: ignore[list-item]


# Ratios


def test_amounts_are_compared_on_logarithms() -> None:
    dice = np.random.default_rng(0)
    baseline = dice.lognormal(5, 1.25, 200)
    candidate = baseline * dice.lognormal(math.log(1.12), 0.3, 200)

    found = paired_ratio(baseline, candidate)

    logs = stats.ttest_rel(np.log(candidate), np.log(baseline))
    interval = logs.confidence_interval()
    assert (found.low, found.ratio, found.high) == pytest.approx(
        (math.exp(interval.low), stats.gmean(candidate / baseline), math.exp(interval.high))
    )
    assert (found.p, found.shown, found.note) == (pytest.approx(logs.pvalue), True, "")


def test_few_skewed_rows_say_so_instead_of_an_interval() -> None:
    ratios = np.exp(np.random.default_rng(0).lognormal(0, 1.25, 30))

    found = paired_ratio(np.ones(30), ratios)

    assert found.note == "too few rows: 30 of a skewed amount; 100 are needed"
    assert (found.low, found.high, found.p, found.shown) == (None, None, None, False)
    assert found.ratio == pytest.approx(stats.gmean(ratios))


def test_amounts_of_zero_are_counted_apart() -> None:
    found = paired_ratio([0, 10, 10, 10, 0], [5, 0, 11, 12, 0])

    assert (found.n, found.skipped) == (2, 3)


def test_prompts_that_did_not_change_have_the_ratio_1() -> None:
    found = paired_ratio([10, 20, 30], [10, 20, 30])

    assert (found.low, found.ratio, found.high, found.shown) == (1.0, 1.0, 1.0, False)
    assert found.note == "the same ratio in all rows"


def test_no_row_has_no_ratio() -> None:
    assert paired_ratio([], []).note == "too few rows: 0 with an amount above 0 on both sides"
    assert paired_ratio([3], [4]).ratio == pytest.approx(4 / 3)


@pytest.mark.parametrize(("candidate", "message"), [([1, 2], "1 amounts"), ([-1], "An amount is -1"), ([math.inf], "is inf")])
def test_amounts_that_are_refused(candidate: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired_ratio([1], candidate)
