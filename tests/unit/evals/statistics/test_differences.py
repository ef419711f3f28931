"""The interval of a difference: against SciPy and statsmodels, its invariances, and the cases in which naive methods fail."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.differences import Difference, difference_of, paired_difference
from airflow_gemini_batch.evals.statistics.tally import Tally

FLOATS = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=3, max_size=40)
BOOLEANS = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60)


def _ends(difference: Difference) -> tuple[float, float]:
    assert difference.low is not None
    assert difference.high is not None
    return difference.low, difference.high


def _drawn(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0.1, 0.3, n)


def test_floats_have_students_interval_and_p() -> None:
    drawn = _drawn(50)

    found = paired_difference(drawn, kind="float", level=0.9)

    ours = stats.ttest_1samp(drawn, 0)
    assert _ends(found) == pytest.approx(tuple(ours.confidence_interval(0.9)))
    assert (found.p, found.degrees, found.method, found.test) == (pytest.approx(ours.pvalue), 49, "t", "t")
    assert found.stderr == pytest.approx(stats.sem(drawn))


def test_an_independent_library_has_the_same_t_interval() -> None:
    drawn = _drawn(37, seed=5)

    found = paired_difference(drawn, kind="float")

    oracle = DescrStatsW(drawn)
    assert _ends(found) == pytest.approx(oracle.tconfint_mean(0.05))
    assert found.p == pytest.approx(oracle.ttest_mean(0)[1])
    assert found.bounds(0.95) == pytest.approx(oracle.tconfint_mean(0.1))


@pytest.mark.parametrize(
    ("improved", "regressed", "n", "expected"),
    # By hand: centre (b - c) / (n + 2), standard error sqrt(b + c + 1 - (b - c)^2 / (n + 2)) / (n + 2).
    [
        (12, 4, 100, (8 / 102, math.sqrt(17 - 64 / 102) / 102)),
        (0, 0, 30, (0.0, 1 / 32)),
        (5, 0, 5, (5 / 7, math.sqrt(6 - 25 / 7) / 7)),
    ],
)
def test_booleans_have_the_interval_of_agresti_and_min(
    improved: int, regressed: int, n: int, expected: tuple[float, float]
) -> None:
    differences = [1] * improved + [-1] * regressed + [0] * (n - improved - regressed)

    found = paired_difference(differences, kind="boolean")

    centre, stderr = expected
    width = stats.norm.ppf(0.975) * stderr
    assert _ends(found) == pytest.approx((max(-1, centre - width), min(1, centre + width)))
    assert (found.mean, found.stderr, found.method) == (
        pytest.approx((improved - regressed) / n),
        pytest.approx(stderr),
        "agresti-min",
    )
    assert (found.improved, found.regressed, found.same) == (improved, regressed, n - improved - regressed)


def test_clusters_have_the_cr1_standard_error_of_an_independent_library() -> None:
    dice = np.random.default_rng(3)
    clusters = dice.integers(0, 25, 200)
    drawn = dice.normal(0, 1, 25)[clusters] + dice.normal(0.2, 1, 200)

    found = paired_difference(drawn, kind="float", clusters=clusters)

    options = {"groups": clusters, "use_correction": True, "df_correction": True}
    oracle = sm.OLS(drawn, np.ones(200)).fit(cov_type="cluster", cov_kwds=options, use_t=True)
    assert found.stderr == pytest.approx(oracle.bse[0])
    assert found.p == pytest.approx(oracle.pvalues[0])
    assert _ends(found) == pytest.approx(tuple(oracle.conf_int()[0]))
    assert (found.degrees, found.clusters, found.method) == (24, 25, "clustered-t")


def test_a_cluster_for_each_key_is_students_t() -> None:
    drawn = _drawn(30)

    alone, grouped = (paired_difference(drawn, kind="float", clusters=one) for one in (None, range(30)))

    assert replace(grouped, clusters=None, method="t", stderr=None, low=None, high=None, p=None) == replace(
        alone, stderr=None, low=None, high=None, p=None
    )
    assert _ends(grouped) == pytest.approx(_ends(alone))


def test_booleans_in_clusters_use_the_clusters() -> None:
    # Each document has ten keys that are all right or all wrong: ten rows are one observation.
    differences = np.repeat([1, 1, 1, 1, 1, -1, -1, 0, 0, 0], 10)
    documents = np.repeat(np.arange(10), 10)

    naive, clustered = (paired_difference(differences, kind="boolean", clusters=one) for one in (None, documents))

    assert clustered.method == "clustered-t"
    assert naive.shown
    assert not clustered.shown
    assert "10 clusters" in clustered.warnings[0]


def test_repeats_of_booleans_have_students_t() -> None:
    found = paired_difference([1 / 3, 0, -1 / 3, 2 / 3, 0], kind="boolean", averaged=True)

    assert (found.method, found.test, found.span) == ("t", "t", 1.0)


def test_the_kind_that_is_declared_counts_not_the_numbers() -> None:
    differences = [1.0, 0.0, -1.0, 1.0, 0.0]

    assert paired_difference(differences, kind="float").method == "t"
    assert paired_difference(differences, kind="boolean").method == "agresti-min"


# Traps


def test_equal_booleans_have_an_interval_that_is_not_empty() -> None:
    found = paired_difference(np.zeros(30), kind="boolean")

    assert _ends(found) == pytest.approx((-0.0613, 0.0613), abs=1e-4)
    assert (found.mean, found.p, found.shown) == (0.0, 1.0, False)


@pytest.mark.parametrize(("n", "value"), [(2, 0.0), (30, 0.0), (30, 0.25), (1000, -1.0)])
def test_equal_floats_have_what_so_many_equal_keys_leave_possible(n: int, value: float) -> None:
    found = paired_difference(np.full(n, value), kind="float", span=1.0)

    low, high = _ends(found)
    # Half of 5 % is left on each side, when this share of all keys is as far away as can be.
    unseen = 1 - 0.025 ** (1 / n)
    assert (low, high) == pytest.approx((value - unseen * (1 + value), value + unseen * (1 - value)))
    assert stats.binom.pmf(0, n, unseen) == pytest.approx(0.025)
    assert (found.method, found.stderr, found.mean) == ("constant", 0.0, value)


def test_equal_floats_without_bounds_have_no_interval_and_say_so() -> None:
    found = paired_difference([0.1] * 7, kind="float")

    assert (found.low, found.high, found.bounds(0.95), found.shown) == (None, None, None, False)
    assert "worst and best" in found.warnings[1]
    assert found.p == pytest.approx(2 / 2**7)  # that of the signs


def test_what_rounding_leaves_over_is_no_difference() -> None:
    noise = [(0.1 + 0.2 + 0.3) / 3 - (0.3 + 0.2 + 0.1) / 3, 0.0, 0.0, 0.0]
    assert noise[0] != 0

    found = paired_difference(noise, kind="float", span=1.0)

    assert (found.method, found.mean, found.improved, found.regressed) == ("constant", 0.0, 0, 0)


def test_nearly_equal_differences_are_equal() -> None:
    found = paired_difference([0.3, 0.1 + 0.2, 0.3], kind="float", span=1.0)

    assert found.method == "constant"
    assert not found.shown


def test_clusters_that_cancel_exactly_have_no_interval_of_width_zero() -> None:
    differences, clusters = np.tile([0.5, -0.5], 6), np.repeat(np.arange(6), 2)

    found = paired_difference(differences, kind="float", clusters=clusters, span=1.0)

    assert found.method == "constant"
    assert _ends(found) == pytest.approx((-(1 - 0.025 ** (1 / 6)), 1 - 0.025 ** (1 / 6)))


@pytest.mark.parametrize("kind", ["boolean", "float"])
def test_no_key_and_one_key(kind: Any) -> None:
    none = paired_difference([], kind=kind)
    one = paired_difference([1], kind=kind)

    assert (none.n, none.mean, none.low, none.p, none.shown, none.borderline) == (0, None, None, None, False, False)
    assert (one.n, one.mean, one.shown) == (1, 1.0, False)
    assert none.bounds(0.95) is None


def test_a_large_offset_loses_no_digits() -> None:
    drawn = _drawn(1000)

    near, far = (paired_difference(drawn + offset, kind="float") for offset in (0, 1e9))

    assert far.stderr == pytest.approx(near.stderr, rel=1e-6)


def test_few_skewed_rows_are_warned_about() -> None:
    dice = np.random.default_rng(0)

    few, many = (paired_difference(dice.lognormal(0, 1.25, n), kind="float") for n in (30, 1000))

    assert "skewed; with 30 keys" in few.warnings[0]
    assert many.warnings == ()


@pytest.mark.parametrize(
    ("improved", "regressed", "n", "p"),
    [(4, 0, 10, 0.0625), (10, 3, 30, 0.0574), (47, 30, 100, 0.0535)],
)
def test_p_and_interval_that_disagree_near_the_level_say_so(improved: int, regressed: int, n: int, p: float) -> None:
    found = paired_difference([1] * improved + [-1] * regressed + [0] * (n - improved - regressed), kind="boolean")

    assert (found.p, found.shown, found.borderline) == (pytest.approx(p, abs=1e-4), True, True)


def test_far_from_the_level_p_and_interval_agree() -> None:
    for improved, regressed in [(12, 0), (40, 10), (10, 10), (3, 2), (0, 0)]:
        found = paired_difference([1] * improved + [-1] * regressed + [0] * 50, kind="boolean")

        assert not found.borderline
        assert found.shown == ((found.p or 0) < 0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference([0.5, 1], kind="boolean"), "found another"),
        (lambda: paired_difference([1.5, 1], kind="boolean", averaged=True), "found 0.0 to 1.5|found 1.0 to 1.5"),
        (lambda: paired_difference([0.5, math.nan], kind="float"), "Number 1 .* is nan"),
        (lambda: paired_difference(["a"], kind="float"), "one is not"),
        (lambda: paired_difference([1, 2], kind="percent"), "kind is 'percent'"),  # type: ignore[arg-type]
        (lambda: paired_difference([1, 2], kind="float", level=95), "level is 95"),
        (lambda: paired_difference([1, 2], kind="float", span=0), "span is 0"),
        (lambda: paired_difference([1, 2], kind="float").bounds(0.5), "one-sided bound is 0.5"),
        (lambda: paired_difference(range(8), kind="float", clusters=[1, 1, 2, 2, 3, 3, 4, 4]), "4 clusters; .* needs 5"),
        (lambda: paired_difference(range(3), kind="float", clusters=["a", None, "b"]), "Row 1 has no cluster"),
        (lambda: paired_difference(range(3), kind="float", clusters=["a", "b", math.nan]), "Row 2 has no cluster"),
        (lambda: paired_difference(range(3), kind="float", clusters=["a"]), "1 cluster ids for 3 rows"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_a_cluster_may_be_called_nan() -> None:
    assert paired_difference(_drawn(6), kind="float", clusters=["nan", "None", "", "a", "b", "c"]).clusters == 6


# Invariances


@given(FLOATS)
def test_swapping_the_sides_flips_the_signs(differences: list[float]) -> None:
    there, back = (paired_difference(sign * np.array(differences), kind="float", span=2.0) for sign in (1, -1))

    assert (back.mean, back.p) == (pytest.approx(-(there.mean or 0)), pytest.approx(there.p))
    assert _ends(back) == pytest.approx((-_ends(there)[1], -_ends(there)[0]))
    assert (back.improved, back.regressed) == (there.regressed, there.improved)


@given(BOOLEANS)
def test_swapping_the_sides_of_booleans_flips_the_signs(differences: list[int]) -> None:
    there, back = (paired_difference(sign * np.array(differences), kind="boolean") for sign in (1, -1))

    assert _ends(back) == pytest.approx((-_ends(there)[1], -_ends(there)[0]))
    assert (back.p, back.stderr) == (there.p, there.stderr)


@given(st.lists(st.integers(-50, 50), min_size=3, max_size=40), st.integers(-1000, 1000))
def test_a_constant_that_is_added_moves_the_interval(differences: list[int], constant: int) -> None:
    here, there = (paired_difference(np.array(differences) + added, kind="float") for added in (0, constant))

    assert there.stderr == pytest.approx(here.stderr, abs=1e-9)
    if here.low is not None:
        assert _ends(there) == pytest.approx((_ends(here)[0] + constant, _ends(here)[1] + constant), abs=1e-6)


@given(FLOATS, st.randoms())
def test_the_order_of_the_rows_means_nothing(differences: list[float], dice: Any) -> None:
    pairs = [(value, place % 6) for place, value in enumerate([*differences, 0.5, 0.25, 0.125])]
    mixed = dice.sample(pairs, len(pairs))

    one, other = (
        paired_difference([p[0] for p in some], kind="float", clusters=[p[1] for p in some], span=2.0) for some in (pairs, mixed)
    )

    assert _ends(other) == pytest.approx(_ends(one), abs=1e-9)
    assert other.improved == one.improved


@given(FLOATS, st.integers(1, 7))
def test_chunks_say_what_the_whole_says(differences: list[float], size: int) -> None:
    clusters = [f"c{place * 7 % 5}" for place in range(len(differences) + 5)]
    numbers = [*differences, 0.1, 0.2, 0.3, 0.4, 0.5]
    whole, parts = Tally.of(numbers, clusters), Tally(clustered=True)

    for start in range(0, len(numbers), size):
        parts.add(numbers[start : start + size], clusters[start : start + size])

    one, other = (difference_of(tally, kind="float", span=2.0) for tally in (whole, parts))
    assert (other.n, other.clusters, other.improved, other.regressed) == (one.n, one.clusters, one.improved, one.regressed)
    assert _ends(other) == pytest.approx(_ends(one), abs=1e-9)
    assert parts.moments.skewness == pytest.approx(whole.moments.skewness, abs=1e-6)


def test_a_chunk_with_clusters_after_one_without_is_refused() -> None:
    tally = Tally()
    tally.add([1.0])

    with pytest.raises(InputError, match="Clusters are given here"):
        tally.add([1.0], ["a"])


@given(st.floats(0.6, 0.99), BOOLEANS)
def test_a_one_sided_bound_is_an_end_of_a_two_sided_interval(level: float, differences: list[int]) -> None:
    found = paired_difference(differences, kind="boolean").bounds(level)

    assert found == pytest.approx(_ends(paired_difference(differences, kind="boolean", level=2 * level - 1)))


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=50))
def test_the_skewness_is_scipys(numbers: list[float]) -> None:
    tally = Tally.of(numbers)
    spread = np.ptp(numbers)

    if spread > 1e-3:
        assert tally.moments.skewness == pytest.approx(
            stats.skew(np.where(np.abs(numbers) < 1e-12, 0, numbers)), rel=1e-3, abs=1e-6
        )
        assert tally.moments.variance == pytest.approx(np.var(numbers, ddof=1), rel=1e-6)
