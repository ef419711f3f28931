"""Sign flips and the bootstrap: against SciPy, and the same whatever the chunks."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.resampling import bootstrap_interval, sign_flip_p


def _drawn(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0.1, 0.5, n)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_few_differences_have_the_exact_p(n: int) -> None:
    drawn = _drawn(n)

    exact = stats.permutation_test((drawn,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue

    assert sign_flip_p(drawn) == pytest.approx(exact)


@pytest.mark.parametrize("drawn", [_drawn(60), np.random.default_rng(1).choice([-1, 0, 1], 200, p=[0.05, 0.85, 0.1])])
def test_more_differences_have_scipys_p(drawn: Any) -> None:
    expected = stats.permutation_test((drawn,), np.mean, permutation_type="samples", n_resamples=9999, rng=0).pvalue

    assert sign_flip_p(drawn, seed=1) == pytest.approx(expected, abs=0.02)  # four standard errors of 9,999 resamples


@pytest.mark.parametrize("drawn", [_drawn(80), np.random.default_rng(1).choice([-1, 0, 1], 200, p=[0.05, 0.85, 0.1])])
def test_the_bootstrap_has_scipys_interval(drawn: Any) -> None:
    expected = stats.bootstrap((drawn,), np.mean, method="percentile", n_resamples=9999, rng=0).confidence_interval

    assert bootstrap_interval(drawn, seed=1) == pytest.approx(tuple(expected), abs=0.1 * (expected.high - expected.low))


@settings(max_examples=20)
@given(st.integers(1, 3000), st.integers(65, 200), st.integers(0, 5))
def test_a_seed_gives_the_same_numbers_whatever_the_chunk(chunk: int, n: int, seed: int) -> None:
    drawn = _drawn(n, seed)

    assert sign_flip_p(drawn, resamples=50, seed=seed, chunk=chunk) == sign_flip_p(drawn, resamples=50, seed=seed)
    assert bootstrap_interval(drawn, resamples=50, seed=seed, chunk=chunk) == bootstrap_interval(drawn, resamples=50, seed=seed)


def test_another_seed_gives_other_numbers() -> None:
    assert bootstrap_interval(_drawn(80), seed=1) != bootstrap_interval(_drawn(80), seed=2)


def test_equal_differences_are_no_trouble() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_interval([0.25] * 40) == pytest.approx((0.25, 0.25))
        assert sign_flip_p([0.0] * 40) == 1.0
        assert sign_flip_p([0.25] * 40) == pytest.approx(1 / 10_000)


def test_p_is_never_zero() -> None:
    assert sign_flip_p(_drawn(100) + 5, resamples=99) == 0.01


@pytest.mark.parametrize("resample", [sign_flip_p, bootstrap_interval])
def test_what_cannot_be_resampled(resample: Any) -> None:
    with pytest.raises(InputError, match="no differences"):
        resample([])
    with pytest.raises(InputError, match="resamples is 0"):
        resample([0.1], resamples=0)


def test_without_scipy_the_error_names_the_extra_and_resampling_works() -> None:
    code = """
import sys
sys.modules["scipy"] = None
from airflow_gemini_batch.evals import agreement, rows_needed
from airflow_gemini_batch.evals.statistics.resampling import sign_flip_p
print(sign_flip_p([0.1, 0.2]), agreement("ab", "ab").kappa)
try:
    rows_needed(0.03, disc=0.1)
except Exception as error:
    print(type(error).__name__, error)
"""

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout.splitlines() == [
        "0.5 1.0",
        "InputError SciPy is not installed; comparisons need it: pip install 'airflow-gemini-batch[evals]'.",
    ]
