"""The findings of all scorers of one file: which differences are shown, with all p-values corrected together, and the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from airflow_gemini_batch.evals.comparing.sides import Reasons
from airflow_gemini_batch.evals.comparing.tallies import SIDES, ScorerTally
from airflow_gemini_batch.evals.comparing.words import words_of_scorer
from airflow_gemini_batch.evals.comparison import Bounds, GateResult, ScorerComparison
from airflow_gemini_batch.evals.statistics.differences import Difference
from airflow_gemini_batch.evals.statistics.gates import Verdict, gate
from airflow_gemini_batch.evals.statistics.holm import holm
from airflow_gemini_batch.evals.statistics.missing import MissingBounds
from airflow_gemini_batch.evals.statistics.planning import minimum_detectable_effect
from airflow_gemini_batch.evals.statistics.resampling import bootstrap_interval, sign_flip_p


@dataclass(frozen=True)
class Rules:
    """How findings are decided; the fields are arguments of ``compare``.

    :param margins: by scorer, the loss that is accepted; empty without a gate.
    """

    level: float
    primary: str | None
    margins: Mapping[str, float]
    resamples: int = 0
    seed: int = 0


def findings(candidates: Sequence[Sequence[ScorerTally]], rules: Rules, reasons: Reasons) -> list[tuple[ScorerComparison, ...]]:
    """What the scorers say of each candidate. All scorers of all candidates are corrected together; a primary one by itself."""
    differences = [[tally.difference(rules.level) for tally in tallies] for tallies in candidates]
    places = [(one, other) for one, tallies in enumerate(candidates) for other in range(len(tallies))]
    is_primary = [candidates[one][other].scorer.name == rules.primary for one, other in places]
    adjusted: dict[tuple[int, int], tuple[float | None, bool]] = {}
    for family in (True, False):
        members = [place for place, primary in zip(places, is_primary, strict=True) if primary == family]
        of_family = [differences[one][other] for one, other in members]
        corrected = zip(holm([found.p for found in of_family]), shown_together(of_family, rules.level), strict=True)
        adjusted.update(zip(members, corrected, strict=True))
    return [
        tuple(
            _described(tally, differences[one][other], *adjusted[one, other], rules, reasons)
            for other, tally in enumerate(tallies)
        )
        for one, tallies in enumerate(candidates)
    ]


def shown_together(differences: Sequence[Difference], level: float) -> list[bool]:
    """Which differences are shown, of several that are looked at together: Holm's steps (1979), each by the interval at the level
    that the step asks for, so that interval and finding cannot contradict each other."""
    order = sorted((one.p, place) for place, one in enumerate(differences) if one.p is not None)
    shown = [False] * len(differences)
    for rank, (_, place) in enumerate(order):
        ends = differences[place].bounds(1 - (1 - level) / (2 * (len(order) - rank)))
        if ends is None or ends[0] <= 0 <= ends[1]:
            break
        shown[place] = True
    return shown


def verdict_of(scorers: Sequence[ScorerComparison], primary: str | None) -> Verdict | None:
    """Of the primary scorer, or of all that have a gate: one that fails decides, then one that is undecided."""
    verdicts = {one.gate.verdict for one in scorers if one.gate is not None and primary in (None, one.name)}
    ordered: tuple[Verdict, ...] = ("fail", "undecided", "pass")
    return next((verdict for verdict in ordered if verdict in verdicts), None)


def _described(
    tally: ScorerTally, found: Difference, p_holm: float | None, shown: bool, rules: Rules, reasons: Reasons
) -> ScorerComparison:
    scorer, level = tally.scorer, rules.level
    better, worse = (found.improved, found.regressed) if scorer.better == "higher" else (found.regressed, found.improved)
    variances, missing = tally.variances(), tally.missing_bounds(level)
    warnings = found.warnings
    if found.borderline:
        warnings += ("The interval and the p-value are on different sides of the level; the interval decides.",)
    made = _gate(tally, found, rules)
    if made is not None and missing is not None:
        warnings += _other_verdict(made, _gate(tally, missing.as_worst, rules))
    drawn = _drawn(tally, rules)
    comparison = ScorerComparison(
        name=scorer.name,
        kind=scorer.kind,
        n=found.n,
        repeats=tally.most_repeats,
        baseline=tally.side(0, level),
        candidate=tally.side(1, level),
        difference=found.mean,
        stderr=found.stderr,
        ci=None if found.low is None or found.high is None else (found.low, found.high),
        method=found.method,
        p=found.p,
        p_holm=p_holm,
        test=found.test,
        improved=better,
        regressed=worse,
        same=found.same,
        within=None if variances is None else variances.within,
        between=None if variances is None else variances.between,
        bounds=None if missing is None else _bounds(missing),
        mde=minimum_detectable_effect(found.stderr, level=level) if found.stderr else None,
        gate=made,
        better=scorer.better,
        worst=scorer.worst,
        best=scorer.best,
        primary=scorer.name == rules.primary,
        shown=shown,
        missing={side: {reasons.names[code]: keys for code, keys in sorted(tally.missing[side].items())} for side in SIDES},
        warnings=warnings,
        bootstrap_ci=drawn[0],
        sign_flip_p=drawn[1],
    )
    return msgspec.structs.replace(comparison, words=words_of_scorer(comparison, level))


def _gate(tally: ScorerTally, found: Difference, rules: Rules) -> GateResult | None:
    margin = rules.margins.get(tally.scorer.name)
    if margin is None:
        return None
    made = gate(found, margin, better=tally.scorer.better, level=rules.level)
    return GateResult(made.margin, made.low, made.high, made.verdict, made.rows_needed, made.level)


def _other_verdict(made: GateResult, as_worst: GateResult | None) -> tuple[str, ...]:
    if as_worst is None or as_worst.verdict == made.verdict:
        return ()
    return (f"With every missing answer counted as the worst, the verdict would be {as_worst.verdict!r}.",)


def _bounds(found: MissingBounds) -> Bounds:
    worst = found.as_worst
    return Bounds(
        low=found.low,
        high=found.high,
        ci=None if found.low_ci is None or found.high_ci is None else (found.low_ci, found.high_ci),
        as_worst=worst.mean,
        as_worst_ci=None if worst.low is None or worst.high is None else (worst.low, worst.high),
    )


def _drawn(tally: ScorerTally, rules: Rules) -> tuple[tuple[float, float] | None, float | None]:
    """The bootstrap interval and the p-value of sign flips, where they were asked for and there is something to draw from."""
    if not rules.resamples or not tally.differences.n:
        return None, None
    kept = np.concatenate(tally.kept)
    interval = bootstrap_interval(kept, resamples=rules.resamples, seed=rules.seed, level=rules.level)
    return interval, sign_flip_p(kept, resamples=rules.resamples, seed=rules.seed)
