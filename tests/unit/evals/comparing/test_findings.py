"""Which differences are shown, of several that are looked at together, and what a gate over several scorers says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.evals.comparing.findings import Rules, findings, shown_together, verdict_of
from airflow_gemini_batch.evals.comparing.pairing import Keys, Pairs, ScoredKeys
from airflow_gemini_batch.evals.comparing.sides import Reasons
from airflow_gemini_batch.evals.comparing.tallies import Compared, ScorerTally
from airflow_gemini_batch.evals.statistics.differences import paired_difference
from airflow_gemini_batch.evals.statistics.holm import holm


def tally(differences: Any, name: str = "one", *, worst: float | None = None, best: float | None = None) -> ScorerTally:
    """Of a scorer of floats, where the baseline has 0 for every key."""
    size = len(differences)
    ones, none = np.ones(size, int), np.zeros(size, np.int16)

    def side(values: Any) -> Keys:
        scored = ScoredKeys(ones, np.asarray(values, float), np.zeros(size), np.zeros(size), none, np.zeros(size, int))
        return Keys(ones, ones, none, {}, (), (scored,))

    made = ScorerTally(Compared(name, "float", worst, best, averaged=False), 0, clustered=False)
    pairs: Any = Pairs(None, side(np.zeros(size)), side(differences), (), None)  # type: ignore[arg-type]
    made.add(pairs, None)
    return made


def spread(mean: float, n: int = 200, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).normal(0, 1, n)
    return mean + (values - values.mean()) / values.std(ddof=1)


def rules(**given: Any) -> Rules:
    return Rules(**{"level": 0.95, "primary": None, "margins": {}, **given})


@given(means=st.lists(st.floats(-0.4, 0.4), min_size=1, max_size=6))
def test_what_is_shown_together_is_what_holms_p_values_say(means: list[float]) -> None:
    differences = [paired_difference(spread(mean, seed=place), kind="float") for place, mean in enumerate(means)]

    adjusted = holm([one.p for one in differences])

    assert shown_together(differences, 0.95) == [p is not None and p < 0.05 for p in adjusted]


def test_the_scorers_of_all_candidates_are_corrected_together() -> None:
    candidates = [[tally(spread(0.17, seed=place), "one"), tally(spread(0.01), "two")] for place in range(3)]

    [(alone, _)] = findings(candidates[:1], rules(), Reasons())
    together = [one for one, _ in findings(candidates, rules(), Reasons())]

    assert alone.p is not None
    assert alone.p_holm == pytest.approx(2 * alone.p)
    assert alone.shown
    assert together[0].p_holm == pytest.approx(6 * alone.p)
    assert not any(one.shown for one in together)
    assert "no difference shown" in together[0].words


def test_a_primary_scorer_is_not_corrected_for_the_others() -> None:
    several = [tally(spread(0.15), "one"), tally(spread(0.15), "two"), tally(spread(0.0), "three")]

    [(one, two, three)] = findings([several], rules(primary="one"), Reasons())

    assert (one.p_holm, one.shown, one.primary) == (one.p, True, True)
    assert two.p is not None
    assert two.p_holm == pytest.approx(2 * two.p)
    assert not two.shown
    assert not three.primary


def test_lower_is_better_where_best_is_below_worst() -> None:
    [(one,)] = findings([[tally(spread(-0.5), worst=9, best=-9)]], rules(margins={"one": 0.1}), Reasons())

    assert (one.better, one.improved > one.regressed, one.gate and one.gate.verdict) == ("lower", True, "pass")
    assert "better" in one.words
    [(other,)] = findings([[tally(spread(0.5), worst=9, best=-9)]], rules(margins={"one": 0.1}), Reasons())
    assert (other.gate and other.gate.verdict, other.regressed > other.improved) == ("fail", True)
    assert "worse" in other.words


def test_the_worst_verdict_of_those_that_decide_is_that_of_the_comparison() -> None:
    several = [tally(spread(0.5), "good"), tally(spread(-0.1), "between"), tally(spread(-0.9), "bad")]
    margins = {"good": 0.1, "between": 0.1, "bad": 0.1}

    [found] = findings([several], rules(margins=margins), Reasons())

    assert [one.gate and one.gate.verdict for one in found] == ["pass", "undecided", "fail"]
    assert (verdict_of(found, None), verdict_of(found[:2], None), verdict_of(found, "good")) == ("fail", "undecided", "pass")
    assert verdict_of(findings([several], rules(), Reasons())[0], None) is None
    assert found[1].gate is not None
    assert (found[1].gate.rows_needed or 0) > 200
