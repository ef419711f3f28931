"""The arguments of ``compare``, checked before anything is read for long, and the scores that it reads."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.finish.summary import summary_of
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.comparing.tallies import Compared
from airflow_gemini_batch.evals.runs import FinishedRun
from airflow_gemini_batch.evals.scorers import as_scorers
from airflow_gemini_batch.evals.scores import Scores, existing_scores, scores_of
from airflow_gemini_batch.evals.statistics.quantiles import check_share

#: The scores that are read where none are named and several are there.
_DEFAULT = "default"


def opened(baseline: Any, candidates: Sequence[Any], find: Callable[[str], Location]) -> list[FinishedRun]:
    """All runs, the baseline first. Raises InputError for a run that is compared with itself."""
    if not candidates:
        raise InputError(
            "compare has no candidate. Give the run that is compared with the baseline: compare(baseline, candidate)."
        )
    runs = [FinishedRun.open(place, find) for place in (baseline, *candidates)]
    for place, run in enumerate(runs):
        if any(run.summary.run_id == earlier.summary.run_id for earlier in runs[:place]):
            raise InputError(f"{run.destination} is given twice. Compare different runs.")
    return runs


def existing(runs: Sequence[FinishedRun], name: str | None) -> list[Scores]:
    """The scores of that name of each run. None: those named ``default``, or the only ones that all runs have.

    Raises DestinationError where they are absent, or older than what they are of.
    """
    found = [existing_scores(run.run, name or _common(runs)) for run in runs]
    for run, scores in zip(runs, found, strict=True):
        if (scores.run_id, scores.finished_at) != (run.summary.run_id, run.summary.finished_at):
            raise DestinationError(
                f"{scores.uri} is of an earlier state of {run.destination}, which has changed since. Score it again."
            )
    return found


def require_unchanged(run: FinishedRun, scores: Scores) -> None:
    """Raise DestinationError when a run was redriven or scored anew while it was read: half of what was read is of then."""
    if summary_of(run.run) != run.summary or scores_of(run.run, scores.name) != scores:
        raise DestinationError(f"{run.destination} or its scores have changed while they were compared. Call compare again.")


def _common(runs: Sequence[FinishedRun]) -> str:
    if all(scores_of(run.run, _DEFAULT) is not None for run in runs):
        return _DEFAULT
    names = [{folder.name for folder in (run.destination / "scores").folders()} for run in runs]
    common = sorted(name for name in set.intersection(*names) if not name.startswith(("_", ".")))
    if len(common) > 1:
        raise InputError(f"The runs have several scores: {', '.join(common)}. Name one: scores={common[0]!r}.")
    return common[0] if common else _DEFAULT


def compared(scores: Sequence[Scores], *, averaged: bool, primary: str | None) -> list[Compared]:
    """The scorers that all runs have, in the baseline's order. Raises InputError where there are none, or not the primary."""
    first, others = scores[0].scorers, [{one.name: one for one in each.scorers} for each in scores[1:]]
    found = []
    for one in first:
        if all(one.name in other for other in others):
            made = [Compared.of(one, other[one.name], averaged=averaged) for other in others]
            found.append(next((scorer for scorer in made if scorer.kind == "float"), made[0]))
    names = [scorer.name for scorer in found]
    if not found:
        told = "; ".join(f"{each.uri} has {', '.join(one.name for one in each.scorers)}" for each in scores)
        raise InputError(f"No scorer has scored all runs: {told}. Score them with the same scorers, or give scorers=…")
    if primary is not None and primary not in names:
        raise InputError(f"primary is {primary!r}; expected a scorer that all runs have: {', '.join(names)}.")
    return found


def margins_of(margin: Any, scorers: Sequence[Compared]) -> dict[str, float]:
    """By scorer. Raises InputError for anything but a number from 0, or a dict of such by scorer."""
    names = [scorer.name for scorer in scorers]
    if margin is None:
        return {}
    given = margin if isinstance(margin, Mapping) else dict.fromkeys(names, margin)
    if unknown := [name for name in given if name not in names]:
        raise InputError(f"margin names {unknown[0]!r}; expected scorers that all runs have: {', '.join(names)}.")
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value >= 0):
            raise InputError(f"margin is {value!r}; expected a number from 0: the loss that you accept, for example 0.02.")
    return {str(name): float(value) for name, value in given.items()}


def level_of(level: Any) -> float:
    if check_share("level", level) <= 0.5:
        raise InputError(f"level is {level}; expected more than 0.5, for example 0.95.")
    return float(level)


def whole_number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{name} is {value!r}; expected a whole number from 0.")
    return value


def slices_of(slices: Any) -> tuple[str, ...]:
    names = (slices,) if isinstance(slices, str) else tuple(slices)
    if not all(isinstance(one, str) for one in names):
        raise InputError(f"slices is {slices!r}; expected the names of carried columns.")
    return tuple(dict.fromkeys(names))


def require_independent(resamples: int, cluster: str | None) -> None:
    """Raise InputError for resamples of keys that depend on each other: drawn one by one, they seem more than they are."""
    if resamples and cluster is not None:
        raise InputError("resamples are drawn key by key, which cluster does not allow. Leave resamples out.")


def require_columns(runs: Sequence[FinishedRun], names: Sequence[str]) -> None:
    """Raise InputError for a column that a candidate and the baseline both do not have."""
    of_baseline, *others = [set(run.schema().names) for run in runs] if names else [set[str]()]
    for run, of_candidate in zip(runs[1:], others, strict=False):
        for name in names:
            if name not in of_baseline | of_candidate:
                raise InputError(
                    f"cluster or slices name the column {name!r}, which the results of {runs[0].destination} and "
                    f"{run.destination} do not have: {', '.join(sorted(of_baseline))}. Carry it when the runs are made."
                )


def folder_of(candidate: FinishedRun, name: str, output: str | None, find: Callable[[str], Location]) -> Location:
    if output is not None:
        return find(output)
    if not isinstance(name, str) or not name or "/" in name or name.startswith((".", "_")):
        raise InputError(f"name is {name!r}; expected a text without '/' that begins with a letter or digit.")
    return candidate.destination / "comparisons" / name


def derived_name(scorers: Any) -> str:
    """Of scores that a comparison makes, so that those of other scorers are left alone."""
    said = [[one.name, one.kind, one.worst, one.best, one.version] for one in as_scorers(scorers)]
    return f"compare-{hashlib.sha256(repr(said).encode()).hexdigest()[:8]}"


def expected_of(scorers: Any) -> dict[str, str]:
    """Scorer -> the column of what it expects, of those that name one."""
    given = list(scorers) if isinstance(scorers, Sequence) else [] if scorers is None else [scorers]
    columns = [getattr(one, "expected", None) for one in given]
    named = zip(as_scorers(given), columns, strict=True) if given else ()
    return {scorer.name: column for scorer, column in named if isinstance(column, str)}
