"""Histograms in fixed buckets: what they say is what was counted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.report.histograms import ROUND_TIMES, Histogram

VALUES = st.lists(
    st.one_of(st.integers(0, 300), st.integers(0, 5_000), st.integers(0, 1 << 40)),
    min_size=1,
    max_size=200,
)


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


@given(VALUES)
def test_every_value_is_in_one_bar_or_above_all(values: list[int]) -> None:
    bars = histogram_of(values).bars()

    assert sum(bars.counts) + bars.above == len(values)
    assert min(bars.counts) >= 0
    assert len(bars.counts) <= 42
    assert list(bars.edges) == sorted(set(bars.edges))
    assert bars.edges[0] <= min(values)
    assert bars.above or bars.edges[-1] > max(values) * 0.99


@given(VALUES, st.floats(0.01, 1))
def test_quantiles_are_right_to_within_a_percent(values: list[int], share: float) -> None:
    expected = int(np.quantile(values, share, method="inverted_cdf"))

    found = histogram_of(values).quantile(share)

    assert expected * 0.99 - 1 <= found <= expected


@given(VALUES, VALUES)
def test_two_histograms_add_up(first: list[int], second: list[int]) -> None:
    merged = histogram_of(first)
    merged.merge(histogram_of(second))
    both = histogram_of(first + second)

    assert merged.bars() == both.bars()
    assert (merged.count, merged.total, merged.low, merged.high) == (both.count, both.total, both.low, both.high)


def test_few_different_values_have_a_bar_each() -> None:
    bars = histogram_of([3, 3, 5]).bars()

    assert (bars.edges, bars.counts) == ((3.0, 4.0, 5.0, 6.0), (2, 0, 1))


def test_a_value_far_above_all_others_does_not_squeeze_them() -> None:
    bars = histogram_of([*range(100, 500)] * 5 + [90_000]).bars()

    assert bars.above == 1
    assert bars.edges[-1] <= 600
    assert not bars.grows


def test_values_of_very_different_size_have_bars_that_grow() -> None:
    bars = histogram_of([2**power for power in range(20)] * 10).bars()

    assert bars.grows
    assert bars.above == 0
    assert min(bars.counts[:3]) >= 0


@pytest.mark.parametrize(("values", "step"), [([300, 990], 100.0), ([1000, 9000] * 300, 500.0)])
def test_bars_lie_between_round_numbers(values: list[int], step: float) -> None:
    edges = histogram_of(values).bars().edges

    assert {right - left for left, right in itertools.pairwise(edges)} == {step}
    assert edges[0] % step == 0


def test_nothing_has_no_bars_and_no_quantiles() -> None:
    empty = Histogram()
    empty.add(np.array([], np.int64))

    assert (empty.count, empty.quantile(0.5), empty.bars().counts, empty.mean) == (0, 0, (), 0.0)


def test_times_have_bars_of_minutes_and_hours() -> None:
    edges = histogram_of([3600, 5000, 7900]).bars(ROUND_TIMES).edges

    assert [edge / 60 for edge in edges[:3]] == [60, 75, 90]


def test_few_values_have_few_bars() -> None:
    assert len(histogram_of([0, 100, 1000, 500]).bars().counts) <= 10
