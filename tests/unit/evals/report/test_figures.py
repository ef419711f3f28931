"""Figures as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.evals.report import figures
from airflow_gemini_batch.evals.scorers import Kind

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *(
            (0.0, "0"),
            (0.0312345, "0.0312"),
            (4.2149, "4.21"),
            (99.96, "100"),
            (0.9996, "1"),
            (12_345.6, "12,346"),
            (-3.5, f"{MINUS}3.5"),
        ),
        *(
            (999.4, "999"),
            (999.6, "1,000"),
            (3.2e-7, "3e-07"),
            (1e20, "1e+20"),
            (100.0, "100"),
            (math.inf, "unknown"),
            (math.nan, "unknown"),
        ),
    ],
)
def test_numbers_have_three_digits_that_say_something(value: float, said: str) -> None:
    assert figures.number(value) == said


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (0.021, "boolean", "+2.1 points"),
        (0.063567, "boolean", "+6.4 points"),
        (0.000249, "boolean", "+0.0249 points"),
        (-0.01, "boolean", f"{MINUS}1 point"),
        (0.0, "boolean", "0 points"),
        (-0.031, "float", f"{MINUS}0.031"),
        (1e-20, "boolean", "+1e-18 points"),
        (None, "float", "unknown"),
        (math.nan, "boolean", "unknown"),
    ],
)
def test_differences_have_a_sign_and_yes_or_no_has_points(value: float | None, kind: Kind, said: str) -> None:
    assert figures.difference(value, kind) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0.812, "81.2 %"), (1.0, "100 %"), (0.99999, "99.9 %"), (0.0, "0 %"), (None, "unknown"), (1.5, "1.5")]
)
def test_scores_of_yes_or_no_are_shares(value: float | None, said: str) -> None:
    assert figures.score(value, "boolean") == said


def test_scores_of_numbers_are_numbers() -> None:
    assert figures.score(3.4149, "float") == "3.41"


@pytest.mark.parametrize(
    ("value", "long", "short"),
    [
        (1.42, "42 % more", "+42 %"),
        (0.69, "31 % less", f"{MINUS}31 %"),
        (2.4, "2.4 times", "2.4 x"),
        (1.0, "the same", "0 %"),
        (0.0, "100 % less", f"{MINUS}100 %"),
        (None, "unknown", "unknown"),
        (-1.0, "unknown", "unknown"),
        (math.inf, "unknown", "unknown"),
    ],
)
def test_ratios_are_said_as_changes(value: float | None, long: str, short: str) -> None:
    assert (figures.ratio(value), figures.change(value)) == (long, short)


@pytest.mark.parametrize(("p", "said"), [(0.26, "p = 0.26"), (1e-9, "p < 0.001"), (1.0, "p = 1"), (None, ""), (math.nan, "")])
def test_p_values(p: float | None, said: str) -> None:
    assert figures.p_value(p) == said


def test_intervals() -> None:
    assert figures.interval((-0.006, 0.022), "boolean") == f"{MINUS}0.6 to +2.2"
    assert figures.interval((-0.006, 0.022), "float") == f"{MINUS}0.006 to +0.022"
    assert figures.interval(None, "float") == figures.score_interval(None, "float") == figures.ratio_interval(None) == ""
    assert figures.score_interval((0.804, 0.82), "boolean") == "80.4 % to 82 %"
    assert figures.ratio_interval((1.41, 1.44)) == "1.41 to 1.44 times"
    assert figures.ratio_interval((2.0, 2.0)) == "2 times"
    assert [figures.size(value, "boolean") for value in (-0.02, 0.0025, 0.01, None)] == [
        "2 points",
        "0.25 points",
        "1 point",
        "unknown",
    ]
    assert figures.size(-0.02, "float") == "0.02"


@given(st.floats(1e-4, 1e14))
def test_a_number_is_right_to_three_digits(value: float) -> None:
    assert float(figures.number(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


@given(st.floats())
def test_every_float_can_be_said(value: float) -> None:
    for kind in ("boolean", "float"):
        assert figures.score(value, kind)
        assert figures.difference(value, kind)
    assert figures.ratio(value)
    assert figures.change(value)
