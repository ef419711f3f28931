"""The mean of one run, the parts of its variance, and what missing keys could do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.means import mean_interval
from airflow_gemini_batch.evals.statistics.missing import MissingTally, missing_bounds
from airflow_gemini_batch.evals.statistics.moments import Moments
from airflow_gemini_batch.evals.statistics.variances import RepeatMoments, difference_parts, variance_parts


@given(st.integers(1, 200), st.data())
def test_the_mean_of_booleans_has_wilsons_interval(n: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(0, n))

    found = mean_interval([1.0] * passed + [0.0] * (n - passed), kind="boolean")

    interval = stats.binomtest(passed, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.low, found.high) == pytest.approx(proportion_confint(passed, n, method="wilson"))
    assert found.mean == pytest.approx(passed / n)


def test_the_mean_of_floats_has_students_interval() -> None:
    drawn = np.random.default_rng(0).uniform(size=40)

    found = mean_interval(drawn, kind="float", level=0.9)

    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp(drawn, 0).confidence_interval(0.9)))
    assert found.method == "t"


def test_repeats_and_clusters_of_booleans_stay_between_0_and_1() -> None:
    nearly_all = [1.0] * 9 + [2 / 3]
    for found in (
        mean_interval(nearly_all, kind="boolean", averaged=True),
        mean_interval([1.0] * 10, kind="boolean", averaged=True),
        mean_interval([1.0] * 10, kind="boolean", clusters=[1, 2, 3, 4, 5] * 2),
    ):
        assert found.high == 1.0
        assert found.low is not None
        assert 0 < found.low < 1


def test_no_key_has_no_mean() -> None:
    assert mean_interval([], kind="boolean").mean is None
    assert mean_interval([0.5], kind="float").low is None


# Variances


def _answers(keys: int, k: int, seed: int, within: float = 0.3, between: float = 0.2) -> Any:
    dice = np.random.default_rng(seed)
    return dice.normal(0, between, (keys, 1)) + dice.normal(0, within, (keys, k))


def _moments(answers: Any) -> RepeatMoments:
    spread = answers.var(axis=1, ddof=1) if answers.shape[1] > 1 else np.full(len(answers), np.nan)
    return RepeatMoments.of(answers.mean(axis=1), spread, np.full(len(answers), answers.shape[1]))


def test_the_parts_are_those_that_were_put_in() -> None:
    found = variance_parts(_moments(_answers(20_000, 4, 0)))

    assert found.within == pytest.approx(0.09, rel=0.03)
    assert found.between == pytest.approx(0.04, rel=0.05)
    assert found.total == pytest.approx((found.between or 0) + (found.within or 0) / 4)


def test_equal_numbers_have_no_variance_although_their_mean_is_rounded() -> None:
    equal = Moments.of([0.1] * 3)
    assert equal.squares != 0

    assert (equal.variance, equal.skewness) == (0.0, 0.0)


def test_a_key_with_one_answer_says_nothing_of_the_spread_within() -> None:
    some = RepeatMoments.of([0.1, 0.2, 0.6], [0.5, 0.3, math.nan], [2, 4, 1])

    found = variance_parts(some)

    assert (found.keys, found.repeated, found.within) == (3, 2, pytest.approx(0.4))
    assert found.between == pytest.approx(max(0.0, np.var([0.1, 0.2, 0.6], ddof=1) - 0.4 * (1 / 2 + 1 / 4 + 1) / 3))


def test_without_repeats_the_parts_are_not_known() -> None:
    found = variance_parts(_moments(_answers(50, 1, 0)))

    assert (found.within, found.between, found.repeated) == (None, None, 0)
    assert found.total is not None


def test_keys_that_are_alike_have_no_negative_variance() -> None:
    assert variance_parts(_moments(_answers(20, 5, 1, between=0.0))).between == 0.0


def test_the_parts_of_a_difference_are_of_both_sides() -> None:
    shared = np.random.default_rng(9).normal(0, 1, (20_000, 1))  # how hard each key is: it cancels
    first, second = (_answers(20_000, k, k) + shared for k in (3, 5))

    found = difference_parts(Moments.of(second.mean(axis=1) - first.mean(axis=1)), _moments(first), _moments(second))

    assert found.within == pytest.approx(0.18, rel=0.03)
    assert found.between == pytest.approx(0.08, rel=0.05)


def test_chunks_add_up() -> None:
    answers = _answers(100, 3, 2)

    parts = variance_parts(_moments(answers[:30]) + _moments(answers[30:]) + RepeatMoments())

    whole = variance_parts(_moments(answers))
    assert (parts.within, parts.between) == pytest.approx((whole.within, whole.between))


def test_a_key_without_answers_is_refused() -> None:
    with pytest.raises(InputError, match="0 repeats"):
        RepeatMoments.of([0.1], [0.2], [0])


# Missing keys

NAN = math.nan


def test_the_bounds_are_those_of_all_answers_that_could_be() -> None:
    baseline, candidate = [1, 1, 0, 0, NAN, NAN], [1, 0, 1, NAN, 1, NAN]

    found = missing_bounds(baseline, candidate, kind="boolean")

    # Of the known keys the sum is 0; the others may be 0 to 1, 0 to 1, and -1 to 1.
    assert (found.low, found.high) == pytest.approx((-1 / 6, 3 / 6))
    assert found.as_worst.mean == pytest.approx(1 / 6)
    assert found.low_ci is not None
    assert found.high_ci is not None
    assert found.low_ci < -1 / 6 < 3 / 6 < found.high_ci


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.3, 1.0, None])] * 2), min_size=2, max_size=30), st.randoms())
def test_no_answers_that_are_filled_in_leave_the_bounds(pairs: list[tuple[Any, Any]], dice: Any) -> None:
    sides = [np.array([NAN if pair[side] is None else pair[side] for pair in pairs]) for side in (0, 1)]

    found = missing_bounds(*sides, kind="float", worst=1.0, best=0.0)

    filled = [[dice.random() if math.isnan(value) else value for value in side] for side in sides]
    truth = np.mean(filled[1]) - np.mean(filled[0])
    assert (found.low or 0) - 1e-9 <= truth <= (found.high or 0) + 1e-9
    assert (found.low or 0) - 1e-9 <= (found.as_worst.mean or 0) <= (found.high or 0) + 1e-9


def test_nothing_missing_has_the_bounds_of_the_difference() -> None:
    found = missing_bounds([0.1, 0.2, 0.4], [0.3, 0.2, 0.9], kind="float")

    assert found.low == pytest.approx(found.high)
    assert (found.low_ci, found.high_ci) == (found.as_worst.low, found.as_worst.high)


def test_a_mean_over_repeats_that_rounds_above_the_best_is_within_it() -> None:
    above = (0.1 + 0.1 + 0.1) / 3
    assert above > 0.1

    missing_bounds([above, 0.0], [0.0, NAN], kind="float", averaged=True, worst=0.0, best=0.1)


@pytest.mark.parametrize(
    ("baseline", "candidate", "bounds", "message"),
    [
        ([1.0], [1.0, 2.0], (0.0, 1.0), "1 keys of the baseline and 2"),
        ([5.0], [1.0], (0.0, 1.0), "outside worst and best"),
        ([0.5], [-0.1], (0.0, 1.0), "outside worst and best"),
        ([0.5], [-0.1], (1.0, 0.0), "outside worst and best"),
        ([1.0], [1.0], (1.0, 1.0), "two different numbers"),
        ([1.0], [1.0], (0.0, math.inf), "two different numbers"),
    ],
)
def test_what_missing_bounds_refuse(baseline: Any, candidate: Any, bounds: tuple[float, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MissingTally(*bounds).add(baseline, candidate)
