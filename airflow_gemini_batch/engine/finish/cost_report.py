"""What all runs below a folder have cost, added up by model, day or label, from their summaries alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary, in_words_of
from airflow_gemini_batch.engine.run.layout import Run, judge_folders, read_json
from airflow_gemini_batch.engine.run.many_files import files_at_once
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

#: Levels of folders that are searched, such as ``team/table/day/hour``.
_DEPTH = 4

#: Folders of a run that hold no other run.
_OF_A_RUN = {"results", "dead_letter", "results_media", "scores"}

#: ``label.team`` is the value of one label.
_LABEL = "label."

_GROUPS: dict[str, Callable[[Summary], str]] = {
    "model": lambda summary: summary.model.removeprefix("models/"),
    "day": lambda summary: summary.started_at[:10],
    "label": lambda summary: in_words_of(summary.labels),
    "run": lambda summary: summary.destination,
}


class Group(msgspec.Struct, frozen=True):
    """Runs that have the same values in what they are grouped by.

    :param by: name -> value; empty texts for runs without such a label.
    :param usd: of all requests with a known cost; None where no run has any.
    :param unpriced: requests that ``usd`` leaves out; ``runs_without_cost`` are the runs of which nothing is known.
    :param interactive_usd: at standard rates; None unless all these runs know it.
    """

    by: dict[str, str]
    runs: int
    rows: int
    usd: float | None
    unpriced: int
    runs_without_cost: int
    interactive_usd: float | None


class Report(msgspec.Struct, frozen=True):
    """:param unfinished: runs that have no summary that can be read, by URI; their costs are not in any group."""

    groups: tuple[Group, ...]
    total: Group
    unfinished: tuple[str, ...]


def report_costs(folder: Location, by: Sequence[str] = ("model",)) -> Report:
    """Add up the summaries of all runs in a folder and the folders below it.

    :param by: ``model``, ``day`` (on which the run was built, in UTC), ``run``, ``label`` (all labels of a run), ``label.NAME``.

    Raises InputError for another name.
    """
    for name in by:
        if name not in _GROUPS and not (name.startswith(_LABEL) and name != _LABEL):
            raise InputError(f"Cannot group costs by {name!r}; expected {', '.join(_GROUPS)} or label.NAME.")
    groups: dict[tuple[str, ...], list[Summary]] = {}
    every: list[Summary] = []
    unfinished: list[str] = []
    for run, summary in _summaries(folder, _DEPTH):
        if summary is None:
            unfinished.append(run.destination.uri)
        else:
            every.append(summary)
            groups.setdefault(tuple(_value(summary, name) for name in by), []).append(summary)
    made = [_group(dict(zip(by, values, strict=True)), found) for values, found in sorted(groups.items())]
    return Report(tuple(made), _group({}, every), tuple(unfinished))


def _summaries(folder: Location, depth: int) -> list[tuple[Run, Summary | None]]:
    """All runs in a folder and below it, by path. Folders of one level are looked into at the same time."""
    found: list[tuple[Run, Summary | None]] = []
    level = [(folder, depth)]
    while level:
        looked = list(files_at_once(folder, level, lambda one: _look_into(*one)))
        found += [run for run, _ in looked if run is not None]
        level = [inner for _, below in looked for inner in below]
    return sorted(found, key=lambda one: one[0].destination.path.split("/"))


def _look_into(folder: Location, depth: int) -> tuple[tuple[Run, Summary | None] | None, list[tuple[Location, int]]]:
    """The run that a folder is, if it is one; and the folders below it in which runs may be, with the levels that are left."""
    children = folder.children()
    names = {child.name for child in children}
    found, below = None, []
    if "summary.json" in names or "_run" in names:
        found = (run := Run(folder)), _summary_of(run)
        below += [(judge, 1) for judge in judge_folders(run)] if "scores" in names else []
    if depth > 0:
        below += [
            (child, depth - 1)
            for child in children
            if child.name not in _OF_A_RUN
            and not child.name.startswith(("_", "."))
            and not child.name.endswith((".html", ".json"))
        ]
    return found, below


def _summary_of(run: Run) -> Summary | None:
    try:
        return read_json(run.summary_file, Summary)
    except CorruptRunError as error:
        log.warning("%s Its costs are left out.", error)
        return None


def _value(summary: Summary, name: str) -> str:
    return summary.labels.get(name.removeprefix(_LABEL), "") if name.startswith(_LABEL) else _GROUPS[name](summary)


def _group(by: dict[str, str], summaries: Sequence[Summary]) -> Group:
    costs = [summary.cost for summary in summaries]
    known = [cost.usd for cost in costs if cost.usd is not None]
    interactive = [cost.interactive_usd for cost in costs if cost.interactive_usd is not None]
    return Group(
        by=by,
        runs=len(summaries),
        rows=sum(summary.rows for summary in summaries),
        usd=math.fsum(known) if known else None,
        unpriced=sum(cost.unpriced for cost in costs),
        runs_without_cost=len(costs) - len(known),
        interactive_usd=math.fsum(interactive) if interactive and len(interactive) == len(costs) else None,
    )
