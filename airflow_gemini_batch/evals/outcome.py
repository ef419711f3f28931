"""What decides in a comparison: the numbers for XCom and scripts, the verdict over several candidates, the rows to show more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from airflow_gemini_batch.evals.comparison import Comparison, ScorerComparison
from airflow_gemini_batch.evals.statistics.gates import Verdict
from airflow_gemini_batch.evals.statistics.planning import rows_needed

#: From the worst: what is said of several candidates is what is said of the worst one.
_VERDICTS: tuple[Verdict, ...] = ("fail", "undecided", "pass")

#: What stays in comparison.json and the table of pairs.
_LEFT_OUT = ("examples", "slices", "fields", "changed", "others", "fingerprint")


def candidates_of(comparison: Comparison) -> Iterator[Comparison]:
    """The comparison of each candidate with the baseline."""
    yield comparison
    yield from comparison.others


def verdict_of_all(comparison: Comparison) -> Verdict | None:
    """Of the worst candidate: pass only if all pass. None without a margin."""
    verdicts = {one.verdict for one in candidates_of(comparison)}
    return next((verdict for verdict in _VERDICTS if verdict in verdicts), None)


def outcome_of(comparison: Comparison) -> dict[str, Any]:
    """Some kilobytes of plain JSON: the document without examples, slices, fields and what was asked.

    ``verdict`` is that of the worst candidate; ``candidates`` has the numbers of each.
    """
    plain = [_numbers(one) for one in candidates_of(comparison)]
    return {
        "uri": comparison.uri,
        "verdict": verdict_of_all(comparison),
        "words": [line for one in candidates_of(comparison) for line in one.words],
        "candidates": plain,
    }


def rows_to_show(
    one: ScorerComparison, effect: float, *, repeats: int = 1, power: float = 0.8, level: float = 0.95
) -> int | None:
    """How many keys the next comparison needs, so that a true difference of ``effect`` is shown.

    :param one: an earlier comparison by the same scorer, whose spread is taken.
    :param repeats: answers to each key in both runs. Other than 1 needs a comparison of runs with repeats.

    Returns None where the earlier comparison does not tell: too few keys, no difference at all, or no repeats.
    """
    if one.within is not None and one.between is not None:
        return rows_needed(effect, within=one.within, between=one.between, repeats=repeats, power=power, level=level)
    if repeats != 1 or not one.n:
        return None
    changed = (one.improved + one.regressed) / one.n
    if one.method == "agresti-min":
        return rows_needed(effect, disc=changed, power=power, level=level) if changed > abs(effect) else None
    spread = (one.stderr or 0.0) * math.sqrt(one.n)
    return rows_needed(effect, sd=spread, power=power, level=level) if spread else None


def _numbers(one: Comparison) -> dict[str, Any]:
    # Lists for tuples, which XCom would write with the name of their class.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(one))
    return {name: value for name, value in plain.items() if name not in _LEFT_OUT}
