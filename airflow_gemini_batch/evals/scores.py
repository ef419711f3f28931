"""The scores of a run on disk, and their totals.

<destination>/scores/<name>/
  part-00000-0.parquet                 one part for each part of the results
  part-dead-letter-00000-0.parquet     and of the dead letters, whose rows are "missing"
  _scores.json                         written last: of which run and by which scorers; table readers skip it
  _judges/<judge>/<question>/          what a judge was asked and said: a run of its own (see ``judge_runs``)
<destination>/scores/_claims/          who is writing scores, and who is asking judges (see ``claims``)

key, repeat      string, int32 (0 in a run without repeats)
scorer           string
score            double; null unless status is "scored"
passed           bool; null where the scorer gives a number only
explanation      string; of a dead letter its reason
status           "scored", "missing" (a dead letter, of this run or of the one that it is compared with), "error" (the scorer
                 raised, or the judge gave no verdict) or "unlabelled" (no expected value)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.costs.total import in_dollars
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.run.layout import Run, read_json
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.run.storage import locate as locate_uri
from airflow_gemini_batch.evals.readings import means_of_keys, paired_labels, win_rate_of
from airflow_gemini_batch.evals.scorers import Kind
from airflow_gemini_batch.evals.statistics.agreement import Agreement, agreement
from airflow_gemini_batch.evals.statistics.win_rate import WinRate

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


class JudgeTotals(msgspec.Struct, frozen=True):
    """What a judge was asked, and what that cost.

    :param uri: of the judge's own run, with its ``summary.json``.
    :param asked: rows that it was asked about, each order of a pair by itself; ``requests`` of them were sent, ``reused`` had
        been answered before, and the others share a request.
    :param no_verdict: rows of these that have none: the run's dead letters.
    :param cost_usd: of this run; verdicts that were reused cost nothing in it. None where no price is known.
    :param finished_at: of the judge's run.
    """

    uri: str
    model: str
    asked: int
    requests: int
    reused: int
    no_verdict: int
    cost_usd: float | None
    finished_at: str


class PairTotals(msgspec.Struct, frozen=True):
    """How the pairs of a ``PairwiseJudge`` ended.

    :param equal: ties of equal answers, which it was not asked about; a part of ``ties``.
    :param first, second: its answers that prefer the first and the second place. A judge without bias prefers both as often.
    :param outcomes: pairs by what was said with the judged run's answer in the first place and in the second one, such as
        ``candidate/baseline``; the judged run is the candidate. Empty where each pair was shown once.
    """

    wins: int
    ties: int
    losses: int
    equal: int
    first: int
    second: int
    outcomes: dict[str, int] = {}

    @property
    def tie_rate(self) -> float | None:
        """The share of pairs that are ties. A half of them says that the judge is noise. None without pairs."""
        pairs = self.wins + self.ties + self.losses
        return self.ties / pairs if pairs else None

    @property
    def first_place_rate(self) -> float | None:
        """The share of its preferences that went to the first place; 0.5 is none of its own. None without any."""
        decided = self.first + self.second
        return self.first / decided if decided else None


class ScorerTotals(msgspec.Struct, frozen=True):
    """What one scorer said of a run.

    :param kind: "boolean" or "float"; ``worst`` and ``best`` are the bounds of its scores, where they are known.
    :param scored, missing, errors, unlabelled: rows by status; together they are all rows of the run.
    :param mean: of the scored rows; None where there are none.
    :param judge, pairs: of a judge, and of one that compares.
    :param choices: of a judge that chooses, with the score of each.
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
    judge: JudgeTotals | None = None
    pairs: PairTotals | None = None
    choices: dict[str, float] = {}


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

    @property
    def judge_cost_usd(self) -> float | None:
        """What the judges' runs cost, each counted once: apart from what the run itself cost. None where no price is known."""
        costs = {one.judge.uri: one.judge.cost_usd for one in self.scorers if one.judge is not None}
        known = [cost for cost in costs.values() if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def agreement(
        self,
        scorer: str,
        column: str,
        *,
        labels: Any = None,
        label_key: str = "key",
        level: float = 0.95,
        seed: int = 0,
        storage_options: Mapping[str, Any] | None = None,
        locate: Callable[[str], Location] | None = None,
    ) -> Agreement:
        """How far a scorer, such as a judge, agrees with what people say of the same rows.

        A label that is a text is compared with the judge's choice, a number with the score, True or False with what passed. Rows
        without a score or a label are counted as unlabelled.

        :param column: with people's labels: of the labels table, else of the run, where it must be carried.
        :param labels, label_key: a table of labels, as for ``score``.
        :param level, seed: of the interval of kappa, as for ``agreement``.
        :param storage_options: for the file system, when ``locate`` is not given.

        Raises InputError for a column that is nowhere, and for labels that cannot be compared.
        """
        find = locate or functools.partial(locate_uri, **(storage_options or {}))
        pairs = paired_labels(
            self._files(find), scorer, self[scorer].choices, run=self.destination, column=column, labels=labels,
            label_key=label_key, locate=find,
        )  # fmt: skip
        return agreement(*pairs, level=level, seed=seed)

    def win_rate(
        self,
        scorer: str,
        *,
        level: float = 0.95,
        storage_options: Mapping[str, Any] | None = None,
        locate: Callable[[str], Location] | None = None,
    ) -> WinRate:
        """How often the judged run wins against the baseline of a ``PairwiseJudge`` that saw both orders.

        ``n``, ``mean``, the interval and ``p`` are of keys, whose repeats are averaged; the other figures are of pairs.

        :param storage_options: for the file system, when ``locate`` is not given.

        Raises InputError for another scorer.
        """
        pairs = self[scorer].pairs
        if pairs is None or (not pairs.outcomes and pairs.wins + pairs.ties + pairs.losses):
            raise InputError(f"The scorer {scorer!r} saw no pairs in both orders; expected PairwiseJudge(positions='both').")
        find = locate or functools.partial(locate_uri, **(storage_options or {}))
        means = means_of_keys(self._files(find), scorer)
        return win_rate_of(pairs.outcomes, means, level=level, missing=self[scorer].missing + self[scorer].errors)

    def _files(self, find: Callable[[str], Location]) -> list[Location]:
        return [find(self.uri) / name for name in self.parts]

    def __str__(self) -> str:
        return "; ".join(_in_words(totals) for totals in self.scorers)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the names of the parts."""
        plain: dict[str, Any] = {**msgspec.to_builtins(self), "judge_cost_usd": self.judge_cost_usd}
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
        names = [folder.name for folder in (run.destination / "scores").folders() if not folder.name.startswith("_")]
        raise DestinationError(
            f"{run.destination} has no scores {name!r}; it has {', '.join(names) or 'none'}. Score it first, or name the scorers."
        )
    return found


def _in_words(totals: ScorerTotals) -> str:
    mean = "no row scored" if totals.mean is None else f"{totals.mean:.4g}"
    without = {"missing": totals.missing, "errors": totals.errors, "unlabelled": totals.unlabelled}
    left_out = ", ".join(f"{count:,} {what}" for what, count in without.items() if count)
    cost = "" if totals.judge is None or totals.judge.cost_usd is None else f", judged for {in_dollars(totals.judge.cost_usd)}"
    return f"{totals.name} {mean} over {totals.scored:,} rows{f' ({left_out})' if left_out else ''}{cost}"
