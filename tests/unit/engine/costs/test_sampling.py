"""Drawing rows, and what they say about the whole: tested on tables whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from airflow_gemini_batch.engine.costs.sampling import Draws, Population, interval_of_total


def drawn(sizes: np.ndarray, draws: int, seed: int, block: int) -> np.ndarray:
    chosen = Draws(Population(len(sizes), int(sizes.sum())), draws, seed)
    return np.concatenate([chosen.of(sizes[start : start + block]) for start in range(0, len(sizes), block)])


@pytest.mark.parametrize("block", [1, 7, 1000, 5000])
def test_the_same_rows_are_drawn_however_the_table_is_read(block: int) -> None:
    sizes = np.random.default_rng(1).integers(1, 5000, 3000)

    times = drawn(sizes, 50, 7, block)

    assert times.sum() == 50
    assert (times == drawn(sizes, 50, 7, 3000)).all()
    assert not (times == drawn(sizes, 50, 8, 3000)).all()


def test_rows_are_drawn_as_often_as_their_probability_says() -> None:
    sizes = np.array([1, 10, 100, 1000, 1, 10])
    population = Population(6, int(sizes.sum()))

    # More draws than rows would take each of them once.
    times = sum(drawn(sizes, 5, seed, 6) for seed in range(20_000))

    expected = population.probability(sizes) * 100_000
    assert np.abs(times - expected).max() < 5 * np.sqrt(expected.max())


def test_a_population_that_is_not_larger_than_the_sample_is_taken_whole() -> None:
    assert drawn(np.array([5, 6, 7]), 3, 1, 2).tolist() == [1, 1, 1]


def test_equal_shares_have_no_spread() -> None:
    interval = interval_of_total(np.full(50, 3.0))

    assert (interval.low, interval.middle, interval.high) == pytest.approx((3.0, 3.0, 3.0))


@pytest.mark.parametrize("shares", [[1.0, 2.0], [0.0, 0.0, 5.0], [0.0] * 49 + [1.0]])
def test_few_or_uneven_shares_give_a_wide_interval_and_no_error(shares: list[float]) -> None:
    interval = interval_of_total(np.array(shares))

    assert np.isfinite([interval.low, interval.high]).all()
    assert interval.low < interval.middle < interval.high


def test_the_same_shares_give_the_same_interval() -> None:
    shares = np.random.default_rng(3).lognormal(size=50)

    assert interval_of_total(shares) == interval_of_total(shares)
