"""What the page of a comparison shows: everything cut, made harmless and put into words; the template only places it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from airflow_gemini_batch.engine.report.words import counted
from airflow_gemini_batch.evals.comparison import Comparison, ScorerComparison
from airflow_gemini_batch.evals.report import figures, tables
from airflow_gemini_batch.evals.report.examples import Examples, examples_of
from airflow_gemini_batch.evals.report.forest import Forest, forest_of
from airflow_gemini_batch.evals.report.headline import Badge, Tile, badges_of, cost_tile, keys_of, lead_of, names_of, tiles_of
from airflow_gemini_batch.evals.report.room import Room
from airflow_gemini_batch.evals.report.scorer_view import ScorerView, estimate_of, p_text, scorer_view

#: Candidates that have all their parts on one page, and lines of the table of candidates.
MOST_PAGES, _MOST_CANDIDATES = 8, 40

#: Scorers that are shown, warnings, and sentences at the top.
_SCORERS, _WARNINGS, _SENTENCES = 20, 20, 8


class CandidateView(NamedTuple):
    """A candidate beside the baseline.

    :param prefix: of the ids of its sections, so that several candidates are on one page.
    :param lead: the scorer that the tiles are about: the primary one, or the first.
    """

    prefix: str
    name: str
    baseline_name: str
    model: str
    baseline_model: str
    badges: tuple[Badge, ...]
    words: tuple[str, ...]
    forests: tuple[Forest, ...]
    tiles: tuple[Tile, ...]
    scorers: tuple[ScorerView, ...]
    scorers_left_out: int
    keys: tuple[Tile, ...]
    amounts: tuple[tables.ShownAmount, ...]
    slices: tuple[tables.SliceTable, ...]
    slices_left_out: int
    fields: tuple[tables.ShownField, ...]
    fields_left_out: int
    changes: tuple[tables.ShownChange, ...]
    changes_left_out: int
    finish_reasons: tuple[tables.Outcome, ...]
    dead_letters: tuple[tables.Outcome, ...]
    losses: Examples
    wins: Examples
    examples_left_out: int
    warnings: tuple[str, ...]
    warnings_left_out: int
    runs: tuple[tables.Fact, ...]
    method: tuple[tuple[str, str], ...]


class CandidateLine(NamedTuple):
    """A line of the table of candidates; ``prefix`` of its part of the page, empty where it has none."""

    prefix: str
    name: str
    model: str
    badges: tuple[Badge, ...]
    difference: str
    interval: str
    p: str
    cost: str


class PageView(NamedTuple):
    """
    :param lines: the table of candidates; empty for one candidate.
    :param forest: their differences by one scorer.
    """

    title: str
    baseline_name: str
    baseline_model: str
    candidates: tuple[CandidateView, ...]
    lines: tuple[CandidateLine, ...]
    lines_left_out: int
    scorer: str
    forest: Forest | None
    created: str
    detail: float


def page_view(comparison: Comparison, detail: float) -> PageView:
    """:param detail: how much of texts and lists is shown, from 0 to 1."""
    every = (comparison, *comparison.others)
    shown = every[: max(1, min(len(every), MOST_PAGES))]
    room = Room(detail, len(shown))
    several = len(every) > 1
    views = tuple(candidate_view(one, f"c{number}-" if several else "", room) for number, one in enumerate(shown, start=1))
    lines, lines_left_out = Room(detail).first(every, _MOST_CANDIDATES) if several else ((), 0)
    lead = lead_of(comparison)
    return PageView(
        f"{len(every)} candidates" if several else f"{views[0].name} against {views[0].baseline_name}",
        room.short(views[0].baseline_name),
        views[0].baseline_model,
        views,
        tuple(_line(one, f"c{number}-" if number <= len(shown) else "", room) for number, one in enumerate(lines, start=1)),
        lines_left_out,
        "" if lead is None else room.short(lead.name, 120),
        _candidates_forest(lines, lead, room) if several else None,
        room.short(comparison.created, 60),
        detail,
    )


def candidate_view(comparison: Comparison, prefix: str, room: Room) -> CandidateView:
    names = names_of(comparison.baseline, comparison.candidate)
    scorers, scorers_left_out = room.first(comparison.scorers, _SCORERS)
    slices, slices_left_out = tables.slices_of(comparison, room)
    fields, fields_left_out = tables.fields_of(comparison, room)
    changes, changes_left_out = tables.changes_of(comparison, room)
    warnings, warnings_left_out = room.first(comparison.warnings, _WARNINGS)
    return CandidateView(
        prefix=prefix,
        name=room.short(names[1], 120),
        baseline_name=room.short(names[0], 120),
        model=room.short(comparison.candidate.model.removeprefix("models/"), 80),
        baseline_model=room.short(comparison.baseline.model.removeprefix("models/"), 80),
        badges=badges_of(comparison),
        words=tuple(room.short(line, 600) for line in comparison.words[:_SENTENCES]),
        forests=_forests(scorers, room),
        tiles=tiles_of(comparison, room),
        scorers=tuple(scorer_view(scorer, comparison.level, room) for scorer in scorers),
        scorers_left_out=scorers_left_out,
        keys=keys_of(comparison),
        amounts=tables.amounts_of(comparison, room),
        slices=slices,
        slices_left_out=slices_left_out,
        fields=fields,
        fields_left_out=fields_left_out,
        changes=changes,
        changes_left_out=changes_left_out,
        finish_reasons=tables.finish_reasons_of(comparison, room),
        dead_letters=tables.dead_letters_of(comparison, room),
        losses=examples_of(comparison, "regressed", room),
        wins=examples_of(comparison, "improved", room),
        examples_left_out=comparison.examples_left_out,
        warnings=tuple(room.short(warning, 400) for warning in warnings),
        warnings_left_out=warnings_left_out,
        runs=tables.runs_of(comparison, room),
        method=_method(comparison, room),
    )


def _forests(scorers: Sequence[ScorerComparison], room: Room) -> tuple[Forest, ...]:
    """Scorers whose differences have one unit share a plot; numbers have a plot for each scorer."""
    groups: dict[tuple[str, ...], list[ScorerComparison]] = {}
    for scorer in scorers:
        unit = ("boolean", scorer.better) if scorer.kind == "boolean" else ("float", scorer.name)
        groups.setdefault(unit, []).append(scorer)
    forests = [
        forest_of(
            [estimate_of(scorer, room.short(scorer.name, 120)) for scorer in group],
            kind=group[0].kind,
            better=group[0].better,
            margin=_margin_of(group),
        )
        for group in groups.values()
    ]
    return tuple(forest for forest in forests if forest is not None)


def _margin_of(scorers: Sequence[ScorerComparison]) -> float | None:
    """The loss that the gates of all of them accept; None where that is not one number."""
    margins = {None if scorer.gate is None else scorer.gate.margin for scorer in scorers}
    return margins.pop() if len(margins) == 1 else None


def _candidates_forest(every: Sequence[Comparison], lead: ScorerComparison | None, room: Room) -> Forest | None:
    if lead is None:
        return None
    found = [(one, scorer) for one in every for scorer in one.scorers if scorer.name == lead.name]
    estimates = [estimate_of(scorer, room.short(names_of(one.baseline, one.candidate)[1], 120)) for one, scorer in found]
    return forest_of(estimates, kind=lead.kind, better=lead.better, margin=_margin_of([lead]))


def _line(comparison: Comparison, prefix: str, room: Room) -> CandidateLine:
    lead = lead_of(comparison)
    return CandidateLine(
        prefix,
        room.short(names_of(comparison.baseline, comparison.candidate)[1], 120),
        room.short(comparison.candidate.model.removeprefix("models/"), 80),
        badges_of(comparison),
        "" if lead is None else figures.difference(lead.difference, lead.kind),
        "" if lead is None else figures.interval(lead.ci, lead.kind),
        "" if lead is None else p_text(lead),
        cost_tile(comparison).value,
    )


def _method(comparison: Comparison, room: Room) -> tuple[tuple[str, str], ...]:
    every = (comparison, *comparison.others)
    tests = sum(1 for one in every for scorer in one.scorers if scorer.p is not None)
    primary = f"; {room.short(comparison.primary, 120)} decides and is not corrected" if comparison.primary else ""
    drawn = f"{comparison.resamples:,} resamples, seed {comparison.seed}" if comparison.resamples else ""
    groups = "" if comparison.clusters is None else f" in {counted(comparison.clusters, 'group')}"
    facts = (
        ("unit", "one difference for each key: the candidate's mean score minus the baseline's, repeats averaged first"),
        ("intervals", f"{100 * comparison.level:.3g} %, two-sided; those of the gate are one-sided"),
        ("p-values", f"{counted(tests, 'test')}, corrected by Holm's method (1979){primary}" if tests > 1 else ""),
        ("groups", "" if comparison.cluster is None else f"keys with the same {room.short(comparison.cluster, 80)}{groups}"),
        ("drawn", drawn),
        ("folder", room.short(comparison.uri)),
    )
    return tuple((name, text) for name, text in facts if text)
