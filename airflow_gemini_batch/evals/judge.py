"""``Judge``: a model scores each answer by a rubric."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.asking import EXPLANATION, Asking
from airflow_gemini_batch.evals.scorers import AskingScorer, Kind


@dataclass(frozen=True, kw_only=True)
class Judge(Asking):
    """A model scores each answer by a rubric: on a scale, or with one of some choices.

    ``score`` asks it about all rows in a batch run of its own, which is kept and reused. Dead letters are not asked about.

    :param model: that judges, such as ``gemini-3.6-flash``.
    :param rubric: what to judge and how. ``${column}`` stands for the row's value, as in ``GenerateRequest``: ``text``, other
        columns of the results (``parsed`` as JSON), carried ones, and those of the labels table. What the verdict may be is added
        at its end. A row in which one of these columns is null is not asked about.
    :param scale: the worst and the best score, such as ``(1, 5)``; ``(5, 1)`` where lower is better. Two whole numbers allow
        whole numbers only.
    :param choices: the verdicts, from worst to best, which score evenly from 0 to 1; or a dict of the score of each.
        Give either this or ``scale``.
    :param passes: with ``scale`` the worst score that passes, with ``choices`` those that pass. Default (None): nothing is said
        of passing. Two choices of which one passes make the scores boolean, in whichever order they are given.
    :param name: of the scores. Default: ``judge``.
    :param system_instruction: default: that what is judged is data and gives no orders. None: none.
    :param config: any field of ``GenerateContentConfig``. A ``max_cost_usd`` needs ``max_output_tokens`` here. Default: none.
    :param explanation_first: whether the model writes its reasons before its verdict, which then follows from them. Default:
        True.

    Raises InputError for arguments that contradict each other.
    """

    default_name: ClassVar[str] = "judge"

    scale: tuple[float, float] | None = None
    choices: Sequence[str] | Mapping[str, float] | None = None
    passes: float | str | Collection[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.scale is None) == (self.choices is None):
            raise InputError(
                f"scale is {self.scale!r} and choices is {self.choices!r}; give one of the two, such as scale=(1, 5)."
            )
        if self.scale is not None:
            self._check_scale()
        else:
            self._check_choices()

    def _check_scale(self) -> None:
        scale: Any = self.scale
        if not isinstance(scale, (tuple, list)) or len(scale) != 2 or not all(map(_is_number, scale)) or scale[0] == scale[1]:
            raise InputError(f"scale is {scale!r}; expected the worst and the best score, two different numbers such as (1, 5).")
        if self.passes is not None and not (_is_number(self.passes) and min(scale) <= self.passes <= max(scale)):
            raise InputError(
                f"passes is {self.passes!r}; expected the worst score that passes, from {min(scale)} to {max(scale)}."
            )

    def _check_choices(self) -> None:
        choices: Any = self.choices
        is_collection = isinstance(choices, (Sequence, Mapping)) and not isinstance(choices, str)
        if not is_collection or not all(isinstance(one, str) and one.strip() for one in choices):
            raise InputError(f"choices is {choices!r}; expected texts, from worst to best, or a dict of the score of each.")
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise InputError(f"choices is {choices!r}; expected two or more different texts.")
        if isinstance(choices, Mapping) and (not all(map(_is_number, choices.values())) or len(set(choices.values())) < 2):
            raise InputError(f"choices is {choices!r}; expected finite scores, of which two differ at least.")
        passing = self._passing
        if self.passes is not None and not passing <= set(choices):
            raise InputError(f"passes is {self.passes!r}; expected one or some of {', '.join(map(repr, choices))}.")
        if self.passes is not None and len(passing) in (0, len(choices)):
            raise InputError(f"passes is {self.passes!r}; expected some of the choices and not all of them.")
        failing = set(choices) - passing
        if passing and not self._is_boolean and min(map(self._score, passing)) <= max(map(self._score, failing)):
            raise InputError(
                f"choices is {list(choices)!r}, from worst to best, but {self.passes!r} passes and a better one does not. Turn "
                "the choices round, or give a dict of their scores."
            )

    def scorer(self) -> AskingScorer:
        """As ``score`` takes it."""
        kind, worst, best = self._bounds()
        meaning = json.dumps([self.scale, self.choices, sorted(self._passing), self.passes], default=str)
        version = f"{type(self).__name__} {self.question} {meaning}"
        return AskingScorer(self.name, self.said, kind, worst, best, self.named_columns(), version, judge=self)

    def said(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Score, whether it passed, and explanation of one answer of the model, which is valid for the schema."""
        verdict = answer[self.field]
        score = self._score(verdict)
        if self.scale is None:
            passed = None if self.passes is None else verdict in self._passing
        else:
            worst, best = self.scale
            passed = None if self.passes is None else (score - self.passes) * (best - worst) >= 0  # type: ignore[operator]
        why = answer.get(EXPLANATION) or ""
        return {"score": score, "passed": passed, "explanation": why if self.scale is not None else f"{verdict}: {why}"}

    @property
    def scores_of_choices(self) -> dict[str, float]:
        """Empty on a scale."""
        return {one: self._score(one) for one in self.choices or ()}

    def _score(self, verdict: Any) -> float:
        if self.scale is not None:
            return float(verdict)
        if self._is_boolean:
            return float(verdict in self._passing)
        if isinstance(self.choices, Mapping):
            return float(self.choices[verdict])
        choices = list(self.choices or ())
        return choices.index(verdict) / (len(choices) - 1)

    @property
    def _passing(self) -> set[str]:
        if self.scale is not None or self.passes is None:
            return set()
        given: Any = (self.passes,) if isinstance(self.passes, str) else self.passes
        return set(given) if isinstance(given, Collection) else {given}

    @property
    def _is_boolean(self) -> bool:
        return (
            self.choices is not None and not isinstance(self.choices, Mapping) and len(self.choices) == 2 and bool(self._passing)
        )

    def _bounds(self) -> tuple[Kind, float | None, float | None]:
        """Kind, worst and best. Booleans have bounds of their own."""
        if self.scale is not None:
            return "float", float(self.scale[0]), float(self.scale[1])
        if self._is_boolean:
            return "boolean", None, None
        scores = [self._score(one) for one in self.choices or ()]
        return "float", min(scores), max(scores)

    def _verdict(self) -> tuple[str, dict[str, Any], str]:
        if self.scale is None:
            named = ", ".join(json.dumps(one, ensure_ascii=False) for one in self.choices or ())
            return "choice", {"type": "string", "enum": list(self.choices or ())}, f"your choice, one of {named}"
        whole = all(isinstance(one, int) for one in self.scale)
        bounds = {"minimum": min(self.scale), "maximum": max(self.scale)}
        worst, best = self.scale
        words = f"a score, {'a whole number' if whole else 'a number'} from {worst} (worst) to {best} (best)"
        return "score", {"type": "integer" if whole else "number", **bounds}, words


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
