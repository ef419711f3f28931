"""The scores of a run on disk, and their totals.

<destination>/scores/<name>/
  part-00000-0.parquet                 one part for each part of the results
  part-dead-letter-00000-0.parquet     and of the dead letters, whose rows are "missing"
  _scores.json                         written last: of which run and by which scorers; table readers skip it

key, repeat      string, int32 (0 in a run without repeats)
scorer           string
score            double; null unless status is "scored"
passed           bool; null where the scorer gives a number only
explanation      string; of a dead letter its reason
status           "scored", "missing" (a dead letter), "error" (the scorer raised) or "unlabelled" (no expected value)
"""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.run.layout import Run, read_json
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.scorers import Kind

SCORES_VERSION = 1

SCORES_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("repeat", pa.int32()),
        pa.field("scorer", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("passed", pa.bool_()),
        pa.field("explanation", pa.string()),
        pa.field("status", pa.string()),
    ]
)


class ScorerTotals(msgspec.Struct, frozen=True):
    """What one scorer said of a run.

    :param kind: "boolean" or "float"; ``worst`` and ``best`` are the bounds of its scores, where they are known.
    :param scored, missing, errors, unlabelled: rows by status; together they are all rows of the run.
    :param mean: of the scored rows; None where there are none.
    """

    name: str
    kind: Kind
    scored: int
    missing: int
    errors: int
    unlabelled: int
    mean: float | None
    worst: float | None = None
    best: float | None = None


class Scores(msgspec.Struct, frozen=True):
    """The scores of a run, by scorer.

    :param uri: of the folder that holds the parts.
    :param run_id, finished_at: of the run that was scored; a run that was redriven since is scored again.
    :param fingerprint: of scorers and labels; empty where the scorers do not say whether they have changed.
    :param parts: the names of the parts.
    """

    destination: str
    name: str
    uri: str
    run_id: str
    finished_at: str
    rows: int
    scorers: tuple[ScorerTotals, ...]
    parts: tuple[str, ...]
    fingerprint: str = ""
    version: int = SCORES_VERSION

    def __getitem__(self, scorer: str) -> ScorerTotals:
        for totals in self.scorers:
            if totals.name == scorer:
                return totals
        raise KeyError(f"no scorer {scorer!r}; there are {', '.join(one.name for one in self.scorers)}")

    def __str__(self) -> str:
        return "; ".join(_in_words(totals) for totals in self.scorers)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the names of the parts."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in plain.items() if name not in ("parts", "fingerprint")}


def scores_folder(run: Run, name: str) -> Location:
    if not name or "/" in name or name.startswith((".", "_")):
        raise InputError(f"The name of the scores is {name!r}; expected a text without '/' that begins with a letter or digit.")
    return run.destination / "scores" / name


def scores_of(run: Run, name: str) -> Scores | None:
    """The scores of that name, or None when there are none."""
    return read_json(scores_folder(run, name) / "_scores.json", Scores)


def existing_scores(run: Run, name: str) -> Scores:
    """Raises DestinationError when the run has no such scores."""
    found = scores_of(run, name)
    if found is None:
        names = [folder.name for folder in (run.destination / "scores").folders()]
        raise DestinationError(
            f"{run.destination} has no scores {name!r}; it has {', '.join(names) or 'none'}. Score it first, or name the scorers."
        )
    return found


def _in_words(totals: ScorerTotals) -> str:
    mean = "no row scored" if totals.mean is None else f"{totals.mean:.4g}"
    without = {"missing": totals.missing, "errors": totals.errors, "unlabelled": totals.unlabelled}
    left_out = ", ".join(f"{count:,} {what}" for what, count in without.items() if count)
    return f"{totals.name} {mean} over {totals.scored:,} rows{f' ({left_out})' if left_out else ''}"
