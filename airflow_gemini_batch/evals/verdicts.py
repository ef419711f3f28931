"""What judges said, looked up by row: on disk as Arrow, like a table of labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.asking import EXPLANATION
from airflow_gemini_batch.evals.judge_sources import pair_row, text_of
from airflow_gemini_batch.evals.labels import Labels
from airflow_gemini_batch.evals.pairwise import FIRST, SECOND, PairwiseJudge, outcome
from airflow_gemini_batch.evals.runs import FinishedRun, batches_of
from airflow_gemini_batch.evals.scorers import AskingScorer, Judged, Row, score_row

#: Why the model gave no verdict, where it gave none.
_PROBLEM = "problem"

#: Whose answer won, by what that scores.
_WINNERS = {1.0: "candidate", 0.5: "tie", 0.0: "baseline"}


def verdicts_of(run: FinishedRun, field: str, locate: Callable[[str], Location]) -> Labels:
    """The answers of a judge's run by row: ``explanation``, the verdict under its own name, or ``problem``."""
    first = run.schema().field("parsed").type
    verdict = pa.float64() if not pa.types.is_string(first.field(field).type) else pa.string()
    members = [("row", pa.string()), (EXPLANATION, pa.string()), (field, verdict), (_PROBLEM, pa.string())]
    schema = pa.schema(members)

    def batches() -> Iterator[pa.RecordBatch]:
        for part in run.parts("results"):
            for batch in batches_of(part, ["key", "parsed"]):
                parsed = batch.column("parsed")
                said = [pc.struct_field(parsed, name).cast(type) for name, type in ((EXPLANATION, pa.string()), (field, verdict))]
                yield pa.record_batch([batch.column("key"), *said, pa.nulls(batch.num_rows, pa.string())], schema=schema)
        for part in run.parts("dead_letter"):
            for batch in batches_of(part, ["key", "reason", "message"]):
                why = pc.binary_join_element_wise(
                    batch.column("reason").cast(pa.string()), pc.fill_null(batch.column("message").cast(pa.string()), ""), ": "
                )
                nothing = [pa.nulls(batch.num_rows, type) for type in (pa.string(), verdict)]
                yield pa.record_batch([batch.column("key"), *nothing, why], schema=schema)

    return Labels(pa.RecordBatchReader.from_batches(schema, batches()), "row", locate, None)


@dataclass(frozen=True, slots=True)
class RubricVerdicts:
    """What a ``Judge`` said.

    :param given: the columns that the model did not write: carried ones and labels.
    """

    run: FinishedRun
    scorer: AskingScorer
    answers: Labels
    given: Collection[str]

    def of(self, batch: pa.RecordBatch, rows: Sequence[Row]) -> list[Judged]:
        """One for each row of the results of the judged run, in their order."""
        found = self.answers.find(self.run.rows_in(batch).to_pylist())
        return [
            _not_shown(self.scorer, row, self.given) or _said(self.scorer, answer)
            for row, answer in zip(rows, found, strict=True)
        ]


@dataclass(slots=True)
class PairCounts:
    """How pairs ended, and which place won.

    :param equal: ties of equal answers, which were not asked about; a part of ``ties``.
    :param first, second: answers of the model that prefer that place.
    """

    wins: int = 0
    ties: int = 0
    losses: int = 0
    equal: int = 0
    first: int = 0
    second: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


class PairVerdicts:
    """What a ``PairwiseJudge`` said.

    :param baseline: the other run's answers, by row.
    """

    def __init__(self, run: FinishedRun, scorer: AskingScorer, answers: Labels, baseline: Labels, given: Collection[str]) -> None:
        self._given = given
        self._run, self._scorer, self._answers, self._baseline = run, scorer, answers, baseline
        self._judge: PairwiseJudge = scorer.judge
        self.counts = PairCounts()

    def of(self, batch: pa.RecordBatch, rows: Sequence[Row]) -> list[Judged]:
        """One for each row of the results of the judged run, in their order."""
        names = self._run.rows_in(batch).to_pylist()
        mine, others = text_of(batch.column(self._judge.answer)).to_pylist(), self._baseline.find(names)
        orders = [self._answers.find([pair_row(name, order) for name in names]) for order in self._judge.orders]
        answers = [dict(zip(self._judge.orders, pair, strict=True)) for pair in zip(*orders, strict=True)]
        return [self._pair(*pair) for pair in zip(rows, mine, others, answers, strict=True)]

    def _pair(self, row: Row, mine: str, other: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]]) -> Judged:
        if (not_shown := _not_shown(self._scorer, row, self._given)) is not None:
            return not_shown
        if other.get("answer") is None:
            why = other.get(_PROBLEM) or (f"its {self._judge.answer} is null" if other else "it has no such row")
            return Judged(None, None, f"baseline: {why}", "missing")
        if mine == other["answer"]:
            self.counts.ties += 1
            self.counts.equal += 1
            self._count_outcome([0.5] * len(self._judge.orders))
            return Judged(0.5, None, "The answers are equal.", "scored")
        for answer in answers.values():
            if (failed := _failed(answer)) is not None:
                return failed
        judged = score_row(self._scorer, dict(answers))
        self._count(judged, [answer[self._judge.field] for answer in answers.values()])
        return judged

    def _count(self, judged: Judged, winners: Sequence[str]) -> None:
        self.counts.wins += judged.score == 1.0
        self.counts.ties += judged.score == 0.5
        self.counts.losses += judged.score == 0.0
        self.counts.first += winners.count(FIRST)
        self.counts.second += winners.count(SECOND)
        self._count_outcome([outcome(winner, order) for winner, order in zip(winners, self._judge.orders, strict=True)])

    def _count_outcome(self, won: Sequence[float]) -> None:
        if len(won) == 2:
            words = "/".join(_WINNERS[one] for one in won)
            self.counts.outcomes[words] = self.counts.outcomes.get(words, 0) + 1


def _not_shown(scorer: AskingScorer, row: Row, given: Collection[str]) -> Judged | None:
    """Why a row was not asked about: a column that the rubric shows is null."""
    absent = next((name for name in scorer.columns or () if row.get(name) is None), None)
    if absent is None:
        return None
    if absent in given:
        return Judged(None, None, f"{absent} is null", "unlabelled")
    return Judged(None, None, f"{absent} is null, so there is nothing to judge", "error")


def _failed(answer: Mapping[str, Any]) -> Judged | None:
    if not answer:
        return Judged(None, None, "the judge's run has no answer to this row", "error")
    if answer[_PROBLEM] is not None:
        return Judged(None, None, f"no verdict: {answer[_PROBLEM]}"[:2000], "error")
    return None


def _said(scorer: AskingScorer, answer: Mapping[str, Any]) -> Judged:
    return _failed(answer) or score_row(scorer, dict(answer))
