"""``PairwiseJudge``: a model says which of two runs' answers to the same row is better.

Models favour a place. So each pair is shown in both orders, and an answer wins only if it wins in both; the rest are ties.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.asking import EXPLANATION, Asking
from airflow_gemini_batch.evals.scorers import AskingScorer

#: What a model may say of two answers.
FIRST, SECOND, TIE = "first", "second", "tie"


@dataclass(frozen=True, kw_only=True)
class PairwiseJudge(Asking):
    """A model compares each answer with that of another run to the same key and repeat: 1 for better, 0 for worse, 0.5 for a tie.

    :param baseline: the other run: URI of its destination, or its summary.
    :param model, name, system_instruction, config, explanation_first: as of ``Judge``. Default name: ``pairwise_judge``.
    :param rubric: what makes one answer better. ``${first}`` and ``${second}`` stand for the two answers; other columns
        are those of the judged run and of the labels table, as for ``Judge``.
    :param answer: the column that is compared, of both runs. Default: ``text``.
    :param positions: ``both`` (default): each pair is asked about twice, with the answers in both places; one wins only if it
        wins both times. ``first``: once, with the judged run's answer in the first place. That costs half, and a judge that
        favours a place then decides: use it only to look at examples.

    Equal answers are a tie, and are not asked about.
    """

    default_name: ClassVar[str] = "pairwise_judge"

    baseline: Any
    answer: str = "text"
    positions: Literal["both", "first"] = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions not in ("both", "first"):
            raise InputError(f"positions is {self.positions!r}; expected 'both' or 'first'.")
        if not isinstance(self.answer, str) or not self.answer:
            raise InputError(f"answer is {self.answer!r}; expected the name of a column, such as 'text'.")
        if absent := {FIRST, SECOND} - set(self.named_columns()):
            raise InputError(
                f"rubric does not name ${{{min(absent)}}}; it must show both answers, as ${{first}} and ${{second}}."
            )

    @property
    def orders(self) -> tuple[str, ...]:
        """At which places the judged run's answer stands."""
        return (FIRST, SECOND) if self.positions == "both" else (FIRST,)

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The columns of the judged row that the rubric names beside the two answers."""
        return tuple(name for name in self.named_columns() if name not in (FIRST, SECOND))

    def scorer(self) -> AskingScorer:
        """As ``score`` takes it."""
        version = f"{type(self).__name__} {self.question} {json.dumps([self.answer, self.positions])}"
        columns = (*dict.fromkeys((*self.own_columns, self.answer)),)
        return AskingScorer(self.name, self.said, "float", 0.0, 1.0, columns, version, judge=self)

    def said(self, answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Score and explanation of one pair.

        :param answers: by order, the model's answer.
        """
        won = [outcome(answers[order][self.field], order) for order in self.orders]
        score = won[0] if len(set(won)) == 1 else 0.5
        share = 1900 // len(won)
        words = (
            f"In {order} place: {_result(answers[order][self.field], order)}. {_why(answers[order])}"[:share]
            for order in self.orders
        )
        return {"score": score, "explanation": "\n".join(words)}

    def _verdict(self) -> tuple[str, dict[str, Any], str]:
        words = f'which answer is better, "{FIRST}" or "{SECOND}", or "{TIE}" if neither is'
        return "winner", {"type": "string", "enum": [FIRST, SECOND, TIE]}, words


def outcome(winner: str, order: str) -> float:
    """1 if the judged run's answer wins, 0 if the other one does, 0.5 for a tie.

    :param order: at which place the judged run's answer stood.
    """
    return 0.5 if winner == TIE else float(winner == order)


def _result(winner: str, order: str) -> str:
    return {1.0: "better", 0.0: "worse", 0.5: "a tie"}[outcome(winner, order)]


def _why(answer: Mapping[str, Any]) -> str:
    return str(answer.get(EXPLANATION) or "")
