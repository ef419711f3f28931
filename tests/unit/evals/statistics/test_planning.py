"""Rows before a run, the detectable effect after it, and Holm's correction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals import rows_needed
from airflow_gemini_batch.evals.statistics.holm import holm
from airflow_gemini_batch.evals.statistics.planning import minimum_detectable_effect


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ({"delta": 0.03, "disc": 0.10}, 865),
        ({"delta": -0.03, "disc": 0.10}, 865),
        ({"delta": 0.03, "disc": 0.10, "exact": True}, 931),
        ({"delta": 0.05, "disc": 0.20}, 621),
        ({"delta": 0.05, "disc": 0.20, "exact": True}, 661),
        ({"delta": 0.05, "sd": 0.3}, 285),
        ({"delta": 0.05, "within": 0.0, "between": 0.09}, 285),
        ({"delta": 0.05, "within": 0.06, "between": 0.07, "repeats": 3}, 285),
        ({"delta": 0.05, "disc": 0.05}, 150),
    ],
)
def test_the_rows_are_those_that_simulations_confirm(arguments: dict[str, Any], rows: int) -> None:
    assert rows_needed(**arguments) == rows


@given(st.floats(0.01, 0.5), st.floats(0.5, 3), st.floats(0.5, 0.99))
def test_floats_need_what_an_independent_library_says_and_two_more(delta: float, sd: float, power: float) -> None:
    rows = rows_needed(delta, sd=sd, power=power) - 2

    # One sample of differences: ratio=0 is the two-sample formula with a second sample that has no variance.
    achieved, with_one_less = (NormalIndPower(ddof=0).power(delta / sd, nobs, 0.05, ratio=0) for nobs in (rows, rows - 1))
    assert with_one_less - 0.001 < power <= achieved + 1e-9


def test_more_repeats_save_rows_but_never_below_what_the_keys_need() -> None:
    needed = [rows_needed(0.03, within=0.1, between=0.05, repeats=k) for k in (1, 2, 3, 5, 10, 1000)]

    assert needed == sorted(needed, reverse=True)
    assert needed[-1] >= rows_needed(0.03, sd=math.sqrt(0.05))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delta": 0, "disc": 0.1}, "delta is 0"),
        ({"delta": math.nan, "disc": 0.1}, "delta is nan"),
        ({"delta": 0.03}, "no spread"),
        ({"delta": 0.03, "disc": 0.1, "sd": 0.3}, "disc and sd"),
        ({"delta": 0.3, "disc": 0.1}, "disc is 0.1"),
        ({"delta": 0.03, "disc": 1.5}, "disc is 1.5"),
        ({"delta": 0.03, "sd": -1}, "sd is -1"),
        ({"delta": 0.03, "sd": 0.3, "power": 80}, "power is 80"),
        ({"delta": 0.03, "sd": 0.3, "exact": True}, "which is for booleans"),
        ({"delta": 0.03, "sd": 0.3, "repeats": 3}, "between and within together"),
        ({"delta": 0.03, "between": 0.3}, "between and within together"),
        ({"delta": 0.03, "between": 0.3, "within": 0.1, "repeats": 0}, "repeats is 0"),
        ({"delta": 0.03, "between": 0.0, "within": 0.0}, "not both 0"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows_needed(**arguments)


def test_the_detectable_effect_is_what_the_rows_were_planned_for() -> None:
    assert minimum_detectable_effect(1.0) == pytest.approx(2.80, abs=0.002)
    assert minimum_detectable_effect(1.0, power=0.9) == pytest.approx(1.960 + 1.282, abs=0.001)
    assert minimum_detectable_effect(0.3 / math.sqrt(rows_needed(0.05, sd=0.3))) == pytest.approx(0.05, rel=0.01)


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_an_independent_library(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_holm_leaves_out_scorers_without_a_p() -> None:
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert holm([]) == []


def test_holm_refuses_what_is_no_p() -> None:
    for wrong in (1.5, -0.1, math.nan):
        with pytest.raises(InputError, match="A p-value is"):
            holm([0.5, wrong])


def test_one_p_is_left_as_it_is() -> None:
    assert holm([float(np.float64(0.03))]) == [0.03]
