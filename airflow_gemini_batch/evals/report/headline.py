"""What is read first: better or worse, by how much, how sure, and at what cost."""

from __future__ import annotations

from typing import NamedTuple

from airflow_gemini_batch.engine.report.words import counted, dollars
from airflow_gemini_batch.evals.comparison import ComparedRun, Comparison, ScorerComparison
from airflow_gemini_batch.evals.report import figures, tables
from airflow_gemini_batch.evals.report.forest import Direction
from airflow_gemini_batch.evals.report.room import Room
from airflow_gemini_batch.evals.report.scorer_view import direction_of, p_text

#: Better or worse, in words and as the class of a badge.
_OUTCOMES: dict[frozenset[Direction], tuple[str, str]] = {
    frozenset(): ("no difference shown", "open"),
    frozenset({"improved"}): ("better", ""),
    frozenset({"regressed"}): ("worse", "none"),
    frozenset({"improved", "regressed"}): ("better and worse", "some"),
}
_VERDICTS = {"pass": ("gate passed", ""), "fail": ("gate failed", "none"), "undecided": ("gate undecided", "some")}


class Badge(NamedTuple):
    text: str
    kind: str


class Tile(NamedTuple):
    """A large figure."""

    label: str
    value: str
    note: str
    kind: str = ""


def badges_of(comparison: Comparison) -> tuple[Badge, ...]:
    """Better or worse by the scorers that decide, and the verdict of the gate."""
    deciding = [one for one in comparison.scorers if one.name == comparison.primary] or list(comparison.scorers)
    if not any(one.n for one in deciding):
        outcome = Badge("nothing to compare", "none")
    else:
        outcome = Badge(*_OUTCOMES[frozenset(map(direction_of, deciding)) - {"open"}])
    return (outcome,) if comparison.verdict is None else (outcome, Badge(*_VERDICTS[comparison.verdict]))


def lead_of(comparison: Comparison) -> ScorerComparison | None:
    """The scorer that stands for all: the primary one, or the first."""
    return next((one for one in comparison.scorers if one.name == comparison.primary), next(iter(comparison.scorers), None))


def names_of(baseline: ComparedRun, candidate: ComparedRun) -> tuple[str, str]:
    """The last parts of both URIs, as many as tell them apart."""
    first, second = ([part for part in run.run.split("/") if part] or [run.run_id or "run"] for run in (baseline, candidate))
    for count in (1, 2, 3):
        names = "/".join(first[-count:]), "/".join(second[-count:])
        if names[0] != names[1]:
            return names
    return f"{first[-1]} ({baseline.run_id})", f"{second[-1]} ({candidate.run_id})"


def tiles_of(comparison: Comparison, room: Room) -> tuple[Tile, ...]:
    tiles: list[Tile] = []
    lead = lead_of(comparison)
    if lead is not None:
        interval = figures.interval(lead.ci, lead.kind)
        sure = f"{100 * comparison.level:.3g} % interval {interval}" if interval else "no interval"
        kind = {"improved": "good", "regressed": "bad", "open": ""}[direction_of(lead)]
        note = ", ".join(part for part in (sure, p_text(lead)) if part)
        tiles.append(Tile(room.short(lead.name, 80), figures.difference(lead.difference, lead.kind), note, kind))
        whole = f"{lead.same:,} the same, of {counted(lead.n, 'key')}"
        tiles.append(Tile("Improved / regressed", f"{lead.improved:,} / {lead.regressed:,}", whole))
    keys = comparison.keys
    alone = keys.only_baseline + keys.only_candidate
    lost = f"{counted(alone, 'key')} in one run only" if alone else "no key is missing on one side"
    tiles.append(Tile("Keys compared", f"{keys.paired:,}", lost, "bad" if alone and not keys.paired else ""))
    tiles.append(cost_tile(comparison))
    for amount in comparison.amounts:
        if amount.name in ("output_tokens", "seconds") and amount.baseline_total and amount.candidate_total is not None:
            label = "Output tokens" if amount.name == "output_tokens" else "Time"
            note = f"{tables.total(amount.name, amount.candidate_total)}, was {tables.total(amount.name, amount.baseline_total)}"
            tiles.append(Tile(label, figures.change(amount.candidate_total / amount.baseline_total), note))
    return tuple(tiles)


def cost_tile(comparison: Comparison) -> Tile:
    """For each row where the runs differ in size, else of both runs."""
    baseline, candidate = comparison.baseline, comparison.candidate
    if baseline.cost_usd is None or candidate.cost_usd is None:
        known = [dollars(run.cost_usd) for run in (candidate, baseline)]
        return Tile("Cost", figures.UNKNOWN, f"{known[0]}, was {known[1]}")
    note = f"{dollars(candidate.cost_usd)}, was {dollars(baseline.cost_usd)}"
    before, after = baseline.cost_usd, candidate.cost_usd
    if baseline.rows != candidate.rows and baseline.rows and candidate.rows:
        before, after = before / baseline.rows, after / candidate.rows
        note += "; the ratio is that of one row"
    judged = [run.judge_cost_usd for run in (candidate, baseline)]
    if judged[0] is not None or judged[1] is not None:
        note += f"; judges {dollars(judged[0] or 0)} and {dollars(judged[1] or 0)} apart"
    return Tile("Cost", figures.change(after / before) if before else dollars(candidate.cost_usd), note)


def keys_of(comparison: Comparison) -> tuple[Tile, ...]:
    keys = comparison.keys
    absent = {side: count for side, count in keys.absent.items() if count}
    tiles = (
        Tile("in both", f"{keys.paired:,}", "these are compared"),
        Tile("only in the baseline", f"{keys.only_baseline:,}", _absent(absent.get("candidate", 0), "candidate")),
        Tile("only in the candidate", f"{keys.only_candidate:,}", _absent(absent.get("baseline", 0), "baseline")),
        Tile("in neither", f"{keys.neither:,}", "no answer on either side"),
    )
    return tiles


def _absent(keys: int, side: str) -> str:
    return f"{counted(keys, 'key')} not in the input of the {side}" if keys else f"no answer of the {side}"
