"""The tables of benchmarks/evals.py: simulated comparisons whose truth is known come out as expected."""

from __future__ import annotations

import pytest

from benchmarks.evals import FAR, TABLES, Figure, simulate


@pytest.mark.slow
@pytest.mark.timeout(900)  # the bootstraps of one table take minutes where other work shares the processors
@pytest.mark.parametrize("table", TABLES)
def test_every_figure_is_within_its_tolerance(table: str) -> None:
    figures = simulate(table, runs=1000, seed=3)

    outside = [str(one) for one in figures if not one.holds]
    assert figures
    assert outside == []


def test_a_small_simulation_tells_good_intervals_from_bad_ones() -> None:
    found = {one.name: one.found for one in simulate("clusters", runs=100, seed=1)}

    naive, robust = ([found[name] for name in found if name.endswith(end)] for end in ("without clusters", "CR1"))
    assert max(naive) < 85 < min(robust)


def test_a_table_does_not_depend_on_the_tables_before_it() -> None:
    assert simulate("missing", runs=5, seed=1) == simulate("missing", runs=5, seed=1) != simulate("missing", runs=5, seed=2)


def test_a_figure_outside_its_tolerance_does_not_hold() -> None:
    figures = [Figure("t", found, 80.0, FAR) for found in (75.9, 76.0, 84.0, 84.1)]
    bounded = [Figure("t", found, 73.0, FAR, between=(0, 80)) for found in (69.0, 80.1)]

    assert [one.holds for one in figures] == [False, True, True, False]
    assert [one.holds for one in bounded] == [True, False]
    assert str(figures[0]).endswith("OUTSIDE")
