"""The gate: three verdicts by one-sided bounds, and the rows that an undecided one needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.weightstats import ttost_paired

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.differences import Difference, paired_difference
from airflow_gemini_batch.evals.statistics.gates import better_of, gate, gate_rows


def _booleans(improved: int, regressed: int, n: int) -> Difference:
    return paired_difference([1] * improved + [-1] * regressed + [0] * (n - improved - regressed), kind="boolean")


@pytest.mark.parametrize(
    ("improved", "regressed", "n", "verdict"),
    [
        (450, 450, 6000, "pass"),
        (15, 15, 200, "undecided"),
        (10, 110, 1000, "fail"),
        (900, 100, 1000, "pass"),
        (0, 0, 3, "undecided"),
    ],
)
def test_the_verdict_is_that_of_the_bounds(improved: int, regressed: int, n: int, verdict: str) -> None:
    found = gate(_booleans(improved, regressed, n), 0.02)

    assert found.verdict == verdict
    assert found.low is not None
    assert found.high is not None
    assert found.verdict == ("pass" if found.low > -0.02 else "fail" if found.high < -0.02 else "undecided")
    assert (found.rows_needed is not None) == (verdict == "undecided")


def test_passing_is_the_lower_half_of_an_independent_equivalence_test() -> None:
    dice = np.random.default_rng(1)
    for shift in np.linspace(-0.1, 0.05, 30):
        baseline = dice.normal(0.7, 0.2, 120)
        candidate = baseline + dice.normal(shift, 0.2, 120)

        found = gate(paired_difference(candidate - baseline, kind="float"), 0.05)

        _, (_, p_above, _), _ = ttost_paired(candidate, baseline, -0.05, 10)
        assert (found.verdict == "pass") == (p_above < 0.05)


def test_an_undecided_gate_names_the_rows_that_would_decide_between_equal_runs() -> None:
    assert gate(_booleans(225, 225, 3000), 0.02).rows_needed is None
    assert gate(_booleans(45, 45, 600), 0.02).rows_needed == 2319 == gate_rows(0.15, 0.02)


def test_floats_need_rows_by_their_variance() -> None:
    differences = np.random.default_rng(2).normal(0, 0.4, 100)

    found = gate(paired_difference(differences, kind="float"), 0.02)

    assert found.rows_needed == gate_rows(float(np.var(differences, ddof=1)), 0.02)


def test_clusters_need_more_rows_than_independent_keys() -> None:
    differences, clusters = np.repeat(np.random.default_rng(2).normal(0, 0.4, 20), 10), np.repeat(np.arange(20), 10)

    naive, clustered = (
        gate(paired_difference(differences, kind="float", clusters=one), 0.02).rows_needed for one in (None, clusters)
    )

    assert clustered == pytest.approx(10 * (naive or 0), rel=0.1)


def test_a_margin_of_zero_passes_only_what_is_better() -> None:
    assert gate(_booleans(100, 20, 1000), 0).verdict == "pass"
    assert gate(_booleans(50, 50, 1000), 0) == gate(_booleans(50, 50, 1000), 0.0)
    undecided = gate(_booleans(50, 50, 1000), 0)
    assert (undecided.verdict, undecided.rows_needed) == ("undecided", None)


def test_where_nothing_is_known_nothing_is_decided() -> None:
    for difference in (paired_difference([], kind="boolean"), paired_difference([0.2] * 9, kind="float")):
        found = gate(difference, 0.02)

        assert (found.verdict, found.low, found.high, found.rows_needed) == ("undecided", None, None, None)


def test_three_equal_keys_do_not_pass_and_three_hundred_do() -> None:
    assert [gate(paired_difference(np.zeros(n), kind="float", span=1), 0.02).verdict for n in (3, 300)] == ["undecided", "pass"]


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.floats(0, 0.5) | st.just(1e-200))
def test_lower_is_better_is_the_same_gate_upside_down(differences: list[float], margin: float) -> None:
    higher = gate(paired_difference(differences, kind="float", span=2), margin)
    lower = gate(paired_difference(-np.array(differences), kind="float", span=2), margin, better="lower")

    assert lower.verdict == higher.verdict
    assert (lower.low, lower.high) == pytest.approx((-(higher.high or 0), -(higher.low or 0)))


def test_the_better_direction_is_that_of_worst_and_best() -> None:
    assert [better_of(*bounds) for bounds in [(0.0, 1.0), (100.0, 0.0), (None, None)]] == ["higher", "lower", "higher"]


@pytest.mark.parametrize("margin", [-0.01, float("nan"), float("inf"), "0.02", True, None])
def test_a_margin_is_a_number_from_zero(margin: Any) -> None:
    with pytest.raises(InputError, match="margin is"):
        gate(_booleans(1, 1, 10), margin)
