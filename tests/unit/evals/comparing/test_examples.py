"""Which keys are shown as examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.evals.comparing.examples import MOST_EXAMPLES, ExampleTally, chosen_of
from airflow_gemini_batch.evals.comparing.pairing import Keys, Pairs, ScoredKeys
from airflow_gemini_batch.evals.comparing.tallies import Compared


def compared(name: str, *, lower: bool = False) -> Compared:
    return Compared(name, "float", 1.0 if lower else 0.0, 0.0 if lower else 1.0, averaged=False)


def pairs(candidate: Any, prefix: str = "k") -> Pairs:
    """Keys that have 0.5 in the baseline, and these scores in the candidate."""
    size = len(candidate)
    ones, none = np.ones(size, int), np.zeros(size, np.int16)

    def side(values: Any) -> Keys:
        scored = ScoredKeys(ones, np.asarray(values, float), np.zeros(size), np.zeros(size), none, np.zeros(size, int))
        return Keys(ones, ones, none, {}, (), (scored,) * 2)

    keys = pa.array([f"{prefix}{number}" for number in range(size)])
    return Pairs(keys, side(np.full(size, 0.5)), side(candidate), (), None)  # type: ignore[arg-type]


def chosen(tally: ExampleTally, *some: Pairs) -> list[tuple[str, str]]:
    for one in some:
        tally.add(one)
    return [(one.change, one.key) for one in chosen_of([tally], None)]


def test_the_largest_changes_come_first_and_equal_scores_not_at_all() -> None:
    scores = [0.5, 0.4, 0.9, 0.1, 0.5 + 1e-14, float("nan"), 0.6]

    assert chosen(ExampleTally(compared("one"), 0), pairs(scores)) == [
        *(("regressed", "k3"), ("regressed", "k1")),
        *(("improved", "k2"), ("improved", "k6")),
    ]
    assert chosen(ExampleTally(compared("one", lower=True), 0), pairs(scores))[0] == ("regressed", "k2")


def test_the_order_of_the_partitions_does_not_matter() -> None:
    dice = np.random.default_rng(0)
    parts = [pairs(dice.integers(0, 3, 300) / 2, f"{name}-") for name in "abc"]

    first = chosen(ExampleTally(compared("one"), 0), *parts)

    assert first == chosen(ExampleTally(compared("one"), 0), *parts[::-1])
    assert len(first) == 2 * MOST_EXAMPLES
    assert len({key[0] for _, key in first}) == 3


def test_several_scorers_share_the_places_and_a_primary_one_comes_first() -> None:
    tallies = [ExampleTally(compared(name), number) for number, name in enumerate(("one", "two"))]
    scores = np.linspace(0, 0.4, 80)
    for tally in tallies:
        tally.add(pairs(scores))

    shared = [one.scorer for one in chosen_of(tallies, None)]
    primary = [one.scorer for one in chosen_of(tallies, "two")]

    assert shared == ["one"] * 25 + ["two"] * 25
    assert primary == ["two"] * MOST_EXAMPLES
