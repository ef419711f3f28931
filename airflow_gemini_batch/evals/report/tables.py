"""The tables of the page: amounts, slices, structured fields, what was asked, why rows ended as they did."""

from __future__ import annotations

from typing import NamedTuple

from airflow_gemini_batch.engine.report.asked import ADVICE
from airflow_gemini_batch.engine.report.words import amount, counted, dollars, duration, moment, percent
from airflow_gemini_batch.evals.comparison import AmountComparison, ComparedRun, Comparison, FieldComparison, Slice
from airflow_gemini_batch.evals.report import figures
from airflow_gemini_batch.evals.report.room import Room
from airflow_gemini_batch.evals.report.word_diff import Diff, word_diff
from airflow_gemini_batch.evals.scorers import Kind

#: Rows of each table, and bytes of HTML for both sides of what was asked differently.
_SLICES, _FIELDS, _CHANGED, _REASONS, _LABELS = 40, 40, 30, 14, 12
_CHANGED_ROOM = 40_000

#: Names of amounts as people say them.
_AMOUNTS = {
    "cost_usd": "Cost",
    "prompt_tokens": "Prompt tokens",
    "output_tokens": "Output tokens",
    "thoughts_tokens": "Thoughts tokens",
    "total_tokens": "All tokens",
    "seconds": "Time",
}


class ShownAmount(NamedTuple):
    """``ratio`` is that of a key, ``total`` that of both totals."""

    name: str
    baseline: str
    candidate: str
    total: str
    ratio: str
    interval: str
    p: str
    keys: int
    note: str


class ShownSlice(NamedTuple):
    value: str
    keys: int
    baseline: str
    candidate: str
    difference: str
    interval: str
    improved: int
    regressed: int
    warnings: tuple[str, ...]


class SliceTable(NamedTuple):
    """The slices of one column by one scorer."""

    column: str
    scorer: str
    slices: tuple[ShownSlice, ...]


class ShownField(NamedTuple):
    path: str
    rows: int
    equal: str
    different: int
    only_baseline: int
    only_candidate: int


class ShownChange(NamedTuple):
    what: str
    diff: Diff


class Outcome(NamedTuple):
    """How many rows of each run ended in one way."""

    name: str
    advice: str
    baseline: int
    candidate: int
    baseline_share: str
    candidate_share: str


class Fact(NamedTuple):
    """One line of what both runs are."""

    name: str
    baseline: str
    candidate: str


def amounts_of(comparison: Comparison, room: Room) -> tuple[ShownAmount, ...]:
    shown, _ = room.first(comparison.amounts, 12)
    return tuple(_amount(one, room) for one in shown)


def slices_of(comparison: Comparison, room: Room) -> tuple[tuple[SliceTable, ...], int]:
    """The tables, and how many slices are left out."""
    kinds: dict[str, Kind] = {scorer.name: scorer.kind for scorer in comparison.scorers}
    shown, left_out = room.first(comparison.slices, _SLICES)
    tables: dict[tuple[str, str], list[ShownSlice]] = {}
    for one in shown:
        tables.setdefault((one.column, one.scorer), []).append(_slice(one, kinds.get(one.scorer, "float"), room))
    return (
        tuple(SliceTable(room.short(column), room.short(scorer), tuple(rows)) for (column, scorer), rows in tables.items()),
        left_out,
    )


def fields_of(comparison: Comparison, room: Room) -> tuple[tuple[ShownField, ...], int]:
    """The fields that differ most come first."""
    ordered = sorted(comparison.fields, key=lambda one: (one.equal / max(1, one.n), one.path))
    shown, left_out = room.first(ordered, _FIELDS)
    return tuple(_field(one, room) for one in shown), left_out


def changes_of(comparison: Comparison, room: Room) -> tuple[tuple[ShownChange, ...], int]:
    shown, left_out = room.first(comparison.changed, _CHANGED)
    each = int(_CHANGED_ROOM * room.detail / room.pages / max(2, 2 * len(shown)))
    return tuple(ShownChange(room.short(one.what), word_diff(one.baseline, one.candidate, each)) for one in shown), left_out


def finish_reasons_of(comparison: Comparison, room: Room) -> tuple[Outcome, ...]:
    """Of the rows with a result."""
    baseline, candidate = comparison.baseline, comparison.candidate
    return _outcomes(
        (baseline.finish_reasons, max(1, baseline.results)), (candidate.finish_reasons, max(1, candidate.results)), room
    )


def dead_letters_of(comparison: Comparison, room: Room) -> tuple[Outcome, ...]:
    """Of the keys without any answer on a side."""
    sides = [comparison.keys.reasons.get(side, {}) for side in ("baseline", "candidate")]
    keys = comparison.keys
    whole = max(1, keys.paired + keys.only_baseline + keys.only_candidate + keys.neither)
    return _outcomes((sides[0], whole), (sides[1], whole), room)


def runs_of(comparison: Comparison, room: Room) -> tuple[Fact, ...]:
    """What both runs are, line by line; lines without anything are left out."""
    sides = [_facts(run, room) for run in (comparison.baseline, comparison.candidate)]
    return tuple(Fact(name, sides[0][name], sides[1][name]) for name in sides[0] if sides[0][name] or sides[1][name])


def total(name: str, value: float | None) -> str:
    """A total of costs, tokens or seconds."""
    if value is None:
        return figures.UNKNOWN
    if name == "cost_usd":
        return dollars(value)
    return duration(value) if name == "seconds" else amount(value)


def _amount(one: AmountComparison, room: Room) -> ShownAmount:
    totals = (one.baseline_total, one.candidate_total)
    return ShownAmount(
        _AMOUNTS.get(one.name) or room.short(one.name, 60),
        total(one.name, one.baseline_total),
        total(one.name, one.candidate_total),
        "" if totals[1] is None or not totals[0] else figures.ratio(totals[1] / totals[0]),
        "" if one.ratio is None else figures.ratio(one.ratio),
        figures.ratio_interval(one.ci),
        figures.p_value(one.p),
        one.n,
        room.short(one.note),
    )


def _slice(one: Slice, kind: Kind, room: Room) -> ShownSlice:
    return ShownSlice(
        "all other values" if one.rest else "null" if one.value is None else room.short(one.value, 120),
        one.n,
        figures.score(one.baseline, kind),
        figures.score(one.candidate, kind),
        figures.difference(one.difference, kind),
        figures.interval(one.ci, kind),
        one.improved,
        one.regressed,
        tuple(room.short(warning, 200) for warning in one.warnings[:2]),
    )


def _field(one: FieldComparison, room: Room) -> ShownField:
    share = percent(one.equal / one.n) if one.n else figures.UNKNOWN
    return ShownField(room.short(one.path, 200), one.n, share, one.different, one.only_baseline, one.only_candidate)


def _outcomes(baseline: tuple[dict[str, int], int], candidate: tuple[dict[str, int], int], room: Room) -> tuple[Outcome, ...]:
    """:param baseline, candidate: counts, and what they are a share of."""
    (left, whole_left), (right, whole_right) = baseline, candidate
    names = sorted({*left, *right}, key=lambda name: (-left.get(name, 0) - right.get(name, 0), name))
    shown, _ = room.first(names, _REASONS)
    return tuple(
        Outcome(
            room.short(name, 80),
            ADVICE.get(name, ""),
            left.get(name, 0),
            right.get(name, 0),
            percent(min(1.0, left.get(name, 0) / whole_left)),
            percent(min(1.0, right.get(name, 0) / whole_right)),
        )
        for name in shown
    )


def _facts(run: ComparedRun, room: Room) -> dict[str, str]:
    labels = [f"{name}={value}" for name, value in sorted(run.labels.items())]
    few, more = room.first(labels, _LABELS)
    return {
        "run": room.short(run.run),
        "run id": room.short(run.run_id, 60),
        "model": room.short(run.model, 120),
        "rows": f"{run.rows:,}: {run.results:,} results, {counted(run.dead_letters, 'dead letter')}",
        "repeats": f"{run.repeats} answers to each row" if run.repeats > 1 else "",
        "cost": dollars(run.cost_usd),
        "cost of judges": "" if run.judge_cost_usd is None else dollars(run.judge_cost_usd),
        "time": duration(run.seconds),
        "finished": moment(run.finished_at),
        "scores": room.short(run.scores),
        "asked (fingerprint)": room.short(run.request_sha256[:16]),
        "labels": ", ".join(map(room.short, few)) + (f" and {more:,} more" if more else ""),
    }
