"""McNemar's test: exact and mid-p against SciPy and statsmodels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.statistics.mcnemar import mcnemar_exact, mcnemar_midp

COUNTS = st.integers(0, 3000)


@given(COUNTS, COUNTS)
def test_exact_is_scipys_and_an_independent_librarys(improved: int, regressed: int) -> None:
    found = mcnemar_exact(improved, regressed)

    if improved + regressed:
        assert found == pytest.approx(stats.binomtest(improved, improved + regressed).pvalue, rel=1e-9, abs=1e-280)
    assert found == pytest.approx(mcnemar([[5, improved], [regressed, 5]], exact=True).pvalue, rel=1e-9, abs=1e-280)


@given(COUNTS, COUNTS)
def test_midp_takes_half_of_what_was_seen(improved: int, regressed: int) -> None:
    found = mcnemar_midp(improved, regressed)

    if improved == regressed:
        assert found == 1.0
    else:
        seen = stats.binom.pmf(min(improved, regressed), improved + regressed, 0.5)
        expected = stats.binomtest(improved, improved + regressed).pvalue - seen
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-12)
    assert 0 <= found <= mcnemar_exact(improved, regressed) <= 1
    assert found == mcnemar_midp(regressed, improved)


def test_no_key_that_differs_is_no_evidence() -> None:
    assert (mcnemar_exact(0, 0), mcnemar_midp(0, 0)) == (1.0, 1.0)


def test_many_keys_are_no_trouble() -> None:
    assert mcnemar_midp(101_000, 100_000) == pytest.approx(stats.binomtest(101_000, 201_000).pvalue, rel=0.01)
    assert mcnemar_midp(1_000_000, 0) == 0.0


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(InputError, match="-1 and 3"):
        mcnemar_midp(-1, 3)
