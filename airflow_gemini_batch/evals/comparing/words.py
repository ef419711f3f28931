"""Findings in sentences: better or worse, by how much, how sure."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_gemini_batch.engine.costs.total import in_dollars
from airflow_gemini_batch.evals.comparison import AmountComparison, GateResult, ScorerComparison


def words_of(
    scorers: Sequence[ScorerComparison], primary: str | None, amounts: Sequence[AmountComparison], level: float
) -> tuple[str, ...]:
    """Of a whole comparison: the verdicts first, the primary scorer before the others, then the cost."""
    ordered = sorted(scorers, key=lambda one: one.name != primary)
    deciding = [one for one in ordered if primary in (None, one.name)]
    gates = [words_of_gate(one, one.gate) for one in deciding if one.gate is not None]
    costs = [words_of_amount(one, level) for one in amounts if one.name in _NOUNS]
    return (*gates, *(one.words for one in ordered), *(words for words in costs if words))


def words_of_scorer(found: ScorerComparison, level: float) -> str:
    """``exact_match: 3.2 points better (95 % interval 1.1 to 5.3), 84.0 % against 80.8 %.``"""
    if not found.n or found.difference is None:
        return f"{found.name}: nothing can be compared; no key has a score in both runs."
    sure = "" if found.ci is None else f" ({level * 100:g} % interval {_between(found, *found.ci)})"
    if not found.shown:
        return f"{found.name}: no difference shown{_could(found)}. The difference is {_signed(found, found.difference)}{sure}."
    gained = (found.difference > 0) == (found.better == "higher")
    sides = f"{_value(found, found.candidate.mean)} against {_value(found, found.baseline.mean)}"
    return f"{found.name}: {_size(found, found.difference)} {'better' if gained else 'worse'}{sure}, {sides}."


#: Whose ratio is said in words.
_NOUNS = {"cost_usd": "The cost of a key", "output_tokens": "The length of an answer in tokens"}


def words_of_amount(found: AmountComparison, level: float) -> str:
    """``The cost of a key is 42.0 % higher (95 % interval +41.0 % to +44.0 %), $5.87 against $4.12 in all.`` Or nothing."""
    if found.ratio is None or found.ci is None:
        return ""
    low, high = found.ci
    sure = f"{level * 100:g} % interval {_percent(low)} to {_percent(high)}"
    if low <= 1 <= high:
        said = f"{_NOUNS[found.name]} is about the same: {_percent(found.ratio)} ({sure})"
    else:
        said = f"{_NOUNS[found.name]} is {abs(found.ratio - 1) * 100:.1f} % {'higher' if found.ratio > 1 else 'lower'} ({sure})"
    if found.name == "cost_usd" and found.baseline_total is not None and found.candidate_total is not None:
        said += f", {in_dollars(found.candidate_total)} against {in_dollars(found.baseline_total)} in all"
    return f"{said}."


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f} %"


def words_of_gate(found: ScorerComparison, gate: GateResult) -> str:
    margin = _size(found, gate.margin)
    if gate.verdict == "pass":
        return f"Pass: by {found.name}, the loss is smaller than the margin of {margin}."
    if gate.verdict == "fail":
        return f"Fail: by {found.name}, the loss is larger than the margin of {margin}."
    needed = "" if gate.rows_needed is None else f" About {gate.rows_needed:,} keys would decide, if the runs are equal."
    return f"Undecided: by {found.name}, {found.n:,} keys do not tell whether the loss is below the margin of {margin}.{needed}"


def _could(found: ScorerComparison) -> str:
    return "" if found.mde is None else f"; {found.n:,} keys could show {_size(found, found.mde)}"


def _value(found: ScorerComparison, value: float | None) -> str:
    if value is None:
        return "nothing"
    return f"{value * 100:.1f} %" if found.kind == "boolean" else f"{value:.4g}"


def _size(found: ScorerComparison, difference: float) -> str:
    """Without a sign."""
    return f"{abs(difference) * 100:.1f} points" if found.kind == "boolean" else f"{abs(difference):.3g}"


def _signed(found: ScorerComparison, difference: float) -> str:
    return f"{difference * 100:+.1f} points" if found.kind == "boolean" else f"{difference:+.3g}"


def _between(found: ScorerComparison, low: float, high: float) -> str:
    if found.kind == "boolean":
        return f"{low * 100:+.1f} to {high * 100:+.1f}"
    return f"{low:+.3g} to {high:+.3g}"
