"""What the page says of one scorer."""

from __future__ import annotations

from typing import NamedTuple

from airflow_gemini_batch.evals.comparison import GateResult, ScorerComparison, Side
from airflow_gemini_batch.evals.report import figures
from airflow_gemini_batch.evals.report.forest import Direction, Estimate
from airflow_gemini_batch.evals.report.room import Room
from airflow_gemini_batch.evals.scorers import Kind
from airflow_gemini_batch.evals.statistics.gates import Better, Verdict

METHODS = {
    "t": "Student's t over one difference for each key",
    "agresti-min": "Agresti and Min (2005), half a pair added to each of the four counts",
    "clustered-t": "t with a cluster-robust standard error (CR1)",
    "constant": "exact bound of a share of which nothing was seen: all differences are equal",
    "none": "none: too few keys",
}
TESTS = {"t": "Student's t", "mcnemar-midp": "McNemar, mid-p", "sign-flip": "sign flips", "none": "none"}

#: What a status of scores, or a reason of dead letters, is to somebody who has not read about it.
_STATUSES = {"missing": "dead letter", "error": "the scorer failed", "unlabelled": "no expected value"}

#: Reasons that are shown one by one.
_REASONS = 12


class Part(NamedTuple):
    """Keys that improved, regressed or stayed the same; ``x`` and ``width`` in percent of all."""

    kind: str
    keys: int
    x: float
    width: float


class Missing(NamedTuple):
    """Keys without a score on one side, by reason."""

    side: str
    keys: int
    reasons: tuple[tuple[str, int], ...]
    more: int


class ShownGate(NamedTuple):
    verdict: Verdict
    words: str


class ScorerView(NamedTuple):
    """
    :param means: side, mean, and what is known of it.
    :param difference, interval, p: of candidate minus baseline, as texts; empty where they are unknown.
    :param facts: names and values of what is read once.
    """

    name: str
    is_primary: bool
    better: Better
    kind: Kind
    words: str
    means: tuple[tuple[str, str, str], ...]
    difference: str
    interval: str
    p: str
    direction: Direction
    parts: tuple[Part, ...]
    gate: ShownGate | None
    missing: tuple[Missing, ...]
    bounds: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    keys: int


def scorer_view(scorer: ScorerComparison, level: float, room: Room) -> ScorerView:
    kind = scorer.kind
    warnings, _ = room.first(scorer.warnings, 6)
    return ScorerView(
        room.short(scorer.name, 120),
        scorer.primary,
        scorer.better,
        kind,
        room.short(scorer.words, 600),
        (("baseline", *_mean(scorer.baseline, kind)), ("candidate", *_mean(scorer.candidate, kind))),
        figures.difference(scorer.difference, kind),
        figures.interval(scorer.ci, kind),
        p_text(scorer),
        direction_of(scorer),
        _parts(scorer),
        None if scorer.gate is None else ShownGate(scorer.gate.verdict, gate_words(scorer.gate, kind, scorer.better)),
        tuple(_missing(side, counts, room) for side, counts in scorer.missing.items() if any(counts.values()))[:2],
        _bounds_words(scorer),
        _facts(scorer, level),
        tuple(map(room.short, warnings)),
        scorer.n,
    )


def direction_of(scorer: ScorerComparison) -> Direction:
    if not scorer.shown or not scorer.difference:
        return "open"
    return "improved" if (scorer.difference > 0) == (scorer.better == "higher") else "regressed"


def estimate_of(scorer: ScorerComparison, name: str) -> Estimate:
    """For a plot."""
    interval = figures.interval(scorer.ci, scorer.kind)
    text = figures.difference(scorer.difference, scorer.kind) + (f" ({interval})" if interval else "")
    bounds = None if scorer.bounds is None else scorer.bounds.ci
    return Estimate(name, scorer.difference, scorer.ci, text, bounds, direction_of(scorer))


def p_text(scorer: ScorerComparison) -> str:
    """Corrected, where it was and that is seen."""
    plain, corrected = figures.p_value(scorer.p), figures.p_value(scorer.p_holm)
    return f"{corrected} corrected" if corrected not in ("", plain) else plain


def gate_words(gate: GateResult, kind: Kind, better: Better) -> str:
    """The verdict as a sentence."""
    margin, level = figures.size(gate.margin, kind), f"{100 * gate.level:.3g} %"
    if gate.low is None or gate.high is None:
        return f"Undecided: there is no interval to compare with the margin of {margin}."
    least, most = (figures.difference(bound, kind, exact=True) for bound in (gate.low, gate.high))
    if better == "lower":
        least, most = most, least
    match gate.verdict:
        case "pass":
            return f"Pass: at {level} the loss is smaller than the margin of {margin}; at worst the difference is {least}."
        case "fail":
            return f"Fail: at {level} the loss is larger than the margin of {margin}; at best the difference is {most}."
    if gate.rows_needed is None:
        needed = "No number of keys would decide it." if gate.margin == 0 else "How many keys would decide it is not known."
    else:
        needed = f"If the runs are truly equal, {gate.rows_needed:,} keys would show it in 80 % of all comparisons."
    return f"Undecided: at {level} the difference is {least} to {most}, on both sides of a loss of {margin}. {needed}"


def _mean(side: Side, kind: Kind) -> tuple[str, str]:
    if side.mean is None:
        return figures.UNKNOWN, "no key has a score"
    interval = figures.score_interval(side.ci, kind)
    error = "" if side.stderr is None else f"standard error {figures.size(side.stderr, kind)}"
    return figures.score(side.mean, kind), ", ".join(part for part in (interval, error, f"{side.n:,} keys") if part)


def _parts(scorer: ScorerComparison) -> tuple[Part, ...]:
    counts = (("improved", scorer.improved), ("same", scorer.same), ("regressed", scorer.regressed))
    whole = max(1, sum(keys for _, keys in counts))
    parts: list[Part] = []
    begin = 0.0
    for kind, keys in counts:
        width = 100 * keys / whole
        parts.append(Part(kind, keys, round(begin, 2), round(width, 2)))
        begin += width
    return tuple(parts)


def _missing(side: str, counts: dict[str, int], room: Room) -> Missing:
    ordered = sorted(((name, keys) for name, keys in counts.items() if keys), key=lambda one: (-one[1], one[0]))
    shown, more = room.first(ordered, _REASONS)
    return Missing(
        room.short(side, 40),
        sum(keys for _, keys in ordered),
        tuple((_STATUSES.get(name) or room.short(name, 80), keys) for name, keys in shown),
        more,
    )


def _bounds_words(scorer: ScorerComparison) -> str:
    bounds, kind = scorer.bounds, scorer.kind
    if bounds is None or bounds.low is None or bounds.high is None:
        return ""
    unit = " points" if kind == "boolean" else ""
    ends, worst_ends = figures.interval(bounds.ci, kind), figures.interval(bounds.as_worst_ci, kind)
    worst = figures.difference(bounds.as_worst, kind) + (f" ({worst_ends})" if worst_ends else "")
    return (
        f"Whatever the missing answers would have been, the difference is "
        f"{figures.interval((bounds.low, bounds.high), kind)}{unit}{f', with intervals {ends}' if ends else ''}."
        f"{f' With each of them at the worst score it is {worst}.' if bounds.as_worst is not None else ''}"
    )


def _facts(scorer: ScorerComparison, level: float) -> tuple[tuple[str, str], ...]:
    kind = scorer.kind
    facts = (
        ("keys", f"{scorer.n:,} with a score on both sides" + (f", {scorer.repeats} answers each" if scorer.repeats > 1 else "")),
        ("interval", f"{100 * level:.3g} %, {METHODS.get(scorer.method, scorer.method)}"),
        ("test", ", ".join(part for part in (TESTS.get(scorer.test, scorer.test), figures.p_value(scorer.p)) if part)),
        ("standard error", "" if scorer.stderr is None else figures.size(scorer.stderr, kind)),
        ("could be shown", "" if scorer.mde is None else f"{figures.size(scorer.mde, kind)} or more, in 80 % of all comparisons"),
        ("bootstrap", figures.interval(scorer.bootstrap_ci, kind)),
        ("sign-flip test", figures.p_value(scorer.sign_flip_p)),
        ("variance", _variance(scorer)),
        ("worst to best", _range(scorer)),
    )
    return tuple((name, text) for name, text in facts if text)


def _variance(scorer: ScorerComparison) -> str:
    if scorer.within is None:
        return ""
    between = "" if scorer.between is None else f", {figures.number(scorer.between)} between keys"
    return f"{figures.number(scorer.within)} within a key's answers{between}"


def _range(scorer: ScorerComparison) -> str:
    if scorer.kind == "boolean" or scorer.worst is None or scorer.best is None:
        return ""
    return f"{figures.number(scorer.worst)} to {figures.number(scorer.best)}"
