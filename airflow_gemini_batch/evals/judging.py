"""The judges of one ``score`` call: from what they are asked to what they said of each row."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import TracebackType

import pyarrow as pa

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.judge_runs import How, Question, ask
from airflow_gemini_batch.evals.judge_sources import JudgedRows, PairedRows, answers_of, digest_of, require_answer
from airflow_gemini_batch.evals.labels import Labels
from airflow_gemini_batch.evals.pairwise import PairwiseJudge
from airflow_gemini_batch.evals.runs import FinishedRun
from airflow_gemini_batch.evals.scorers import AskingScorer, Judged, Row, Scorer
from airflow_gemini_batch.evals.scores import JudgeTotals, PairTotals, Scores
from airflow_gemini_batch.evals.verdicts import PairVerdicts, RubricVerdicts, verdicts_of


class Judges:
    """The scorers of a call that ask a model. A context manager, for its files.

    :param run: that is judged.
    """

    def __init__(
        self, run: FinishedRun, scorers: Sequence[Scorer], labels: Labels | None, locate: Callable[[str], Location]
    ) -> None:
        self._run, self._labels, self._locate = run, labels, locate
        self._scorers = [scorer for scorer in scorers if isinstance(scorer, AskingScorer)]
        self._stack = contextlib.ExitStack()
        self._baselines = {
            scorer.name: FinishedRun.open(scorer.judge.baseline, locate)
            for scorer in self._scorers
            if isinstance(scorer.judge, PairwiseJudge)
        }
        for scorer in self._scorers:
            if scorer.name in self._baselines:
                for one in (run, self._baselines[scorer.name]):
                    require_answer(one, scorer.judge.answer)
        self._verdicts: dict[str, RubricVerdicts | PairVerdicts] = {}
        self._totals: dict[str, JudgeTotals] = {}

    def __enter__(self) -> Judges:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def compared_with(self) -> str:
        """Digest of the runs that answers are compared with."""
        runs = [(name, one.summary.run_id, one.summary.finished_at) for name, one in sorted(self._baselines.items())]
        return digest_of(*runs) if runs else ""

    def ask(self, folder: Location, how: How) -> None:
        """Ask all judges, and wait for them.

        :param folder: of the scores.
        """
        if not self._scorers:
            return
        baselines = {name: self._looked_up(name, one) for name, one in self._baselines.items()}
        questions = self._questions(folder, baselines)
        for scorer, summary in zip(self._scorers, ask(self._run, questions, how), strict=True):
            self._totals[scorer.name] = _totals_of(summary)
            verdicts = verdicts_of(FinishedRun.open(summary, self._locate), scorer.judge.field, self._locate)
            self._stack.enter_context(verdicts)
            given = frozenset((*self._run.run.built().carry, *(self._labels.columns if self._labels else ())))
            self._verdicts[scorer.name] = (
                PairVerdicts(self._run, scorer, verdicts, baselines[scorer.name], given)
                if scorer.name in baselines
                else RubricVerdicts(self._run, scorer, verdicts, given)
            )

    def questions(self, folder: Location) -> list[Question]:
        """What the judges are asked, without asking them."""
        return self._questions(folder, {name: self._looked_up(name, one) for name, one in self._baselines.items()})

    def _questions(self, folder: Location, baselines: dict[str, Labels]) -> list[Question]:
        return [Question(scorer.judge, self._source(scorer, baselines), folder) for scorer in self._scorers]

    def judged(self, scorer: AskingScorer, batch: pa.RecordBatch, rows: Sequence[Row]) -> list[Judged]:
        """What a judge said of rows of the results."""
        return self._verdicts[scorer.name].of(batch, rows)

    def totals_of(self, scorer: Scorer) -> tuple[JudgeTotals | None, PairTotals | None]:
        """What a judge was asked and how its pairs ended; None for other scorers."""
        verdicts = self._verdicts.get(scorer.name)
        pairs = PairTotals(**asdict(verdicts.counts)) if isinstance(verdicts, PairVerdicts) else None
        return self._totals.get(scorer.name), pairs

    def _looked_up(self, name: str, baseline: FinishedRun) -> Labels:
        answer = next(scorer.judge.answer for scorer in self._scorers if scorer.name == name)
        return self._stack.enter_context(Labels(answers_of(baseline, answer), "row", self._locate, None))

    def _source(self, scorer: AskingScorer, baselines: dict[str, Labels]) -> JudgedRows:
        judge = scorer.judge
        if not isinstance(judge, PairwiseJudge):
            return JudgedRows(self._run, self._labels, judge.named_columns())
        return PairedRows(
            self._run,
            self._labels,
            judge.own_columns,
            other=self._baselines[scorer.name],
            baseline=baselines[scorer.name],
            answer=judge.answer,
            orders=judge.orders,
        )


def said_the_same_since(scores: Scores, locate: Callable[[str], Location]) -> bool:
    """Whether the judges' runs are what they were when the scores were made; one that is gone cannot say otherwise."""
    for totals in scores.scorers:
        if totals.judge is not None:
            try:
                summary = summary_of(Run(locate(totals.judge.uri), locate))
            except CorruptRunError:
                continue
            if summary is not None and summary.finished_at != totals.judge.finished_at:
                return False
    return True


def _totals_of(summary: Summary) -> JudgeTotals:
    return JudgeTotals(
        uri=summary.destination,
        model=summary.model,
        asked=summary.rows,
        requests=summary.requests,
        reused=summary.reused,
        no_verdict=summary.dead_letter,
        cost_usd=summary.cost.usd,
        finished_at=summary.finished_at,
    )
