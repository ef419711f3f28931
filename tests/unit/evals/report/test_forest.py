"""Where things are in a forest plot."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.evals.report.forest import Estimate, Forest, forest_of


def drawn(*estimates: Estimate, **options: object) -> Forest:
    forest = forest_of(estimates, kind="boolean", **options)  # type: ignore[arg-type]
    assert forest is not None
    return forest


def test_zero_margin_and_interval_are_on_one_scale() -> None:
    forest = drawn(Estimate("a", 0.02, (0.01, 0.03), "", direction="improved"), margin=0.01)

    [line] = forest.lines
    assert (forest.margin, forest.zero, line.low, line.x, line.high) == (4.0, 27.0, 50.0, 73.0, 96.0)
    assert line.direction == "improved"
    assert [(tick.text, tick.x) for tick in forest.ticks] == [
        ("\N{MINUS SIGN}1", 4.0),
        ("0", 27.0),
        ("+1", 50.0),
        ("+2", 73.0),
        ("+3", 96.0),
    ]
    assert forest.hint == "right of 0 is better"


def test_where_lower_is_better_the_margin_is_a_rise() -> None:
    forest = drawn(Estimate("a", -0.02, (-0.03, -0.01), ""), margin=0.01, better="lower")

    assert forest.margin is not None
    assert forest.margin > forest.zero
    assert forest.hint == "left of 0 is better"


def test_bounds_of_missing_keys_are_a_band_which_ends_at_the_edge_where_it_is_very_wide() -> None:
    [line] = drawn(Estimate("a", 0.02, (0.01, 0.03), "", bounds=(-0.02, 0.04))).lines
    [wide] = drawn(Estimate("a", 0.02, (0.01, 0.03), "", bounds=(-1.0, 1.0))).lines

    assert line.band == (4.0, 92.0)
    assert wide.band == (0.0, 100.0)
    assert wide.low is not None
    assert wide.high is not None
    assert wide.high - wide.low > 8


def test_an_estimate_without_an_interval_is_a_point_and_without_a_value_only_a_name() -> None:
    point, nothing = drawn(Estimate("a", 0.02, None, ""), Estimate("b", None, None, "unknown")).lines

    assert (point.low, point.high, point.band) == (None, None, None)
    assert point.x == 96.0
    assert nothing.x is None


@pytest.mark.parametrize("value", [None, math.nan, math.inf, 1e300])
def test_without_any_known_difference_there_is_no_plot(value: float | None) -> None:
    assert forest_of([Estimate("a", value, None, "")], kind="float") is None


ANY = st.one_of(st.none(), st.floats())
ENDS = st.one_of(st.none(), st.tuples(st.floats(), st.floats()))


@given(
    st.lists(st.builds(Estimate, st.just("a"), ANY, ENDS, st.just(""), ENDS), max_size=5),
    ANY,
    st.sampled_from(["higher", "lower"]),
)
def test_whatever_the_figures_are_the_plot_is_within_its_width(
    estimates: list[Estimate], margin: float | None, better: str
) -> None:
    forest = forest_of(estimates, kind="float", better=better, margin=margin)  # type: ignore[arg-type]

    if forest is None:
        return
    places = [forest.zero, *([] if forest.margin is None else [forest.margin]), *(tick.x for tick in forest.ticks)]
    for line in forest.lines:
        places += [place for place in (line.x, line.low, line.high) if place is not None]
        if line.band:
            places += [line.band[0], line.band[0] + line.band[1]]
    assert all(-1e-9 <= place <= 100.01 for place in places)
    assert len(forest.ticks) <= 8
    assert any(tick.text == "0" for tick in forest.ticks)
