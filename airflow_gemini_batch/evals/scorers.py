"""What a scorer is: a named function of a row, with the kind of its scores declared.

A row is a dict: the carried columns, the columns of ``results``, and those of the labels table. Light to import: DAG files name
scorers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from airflow_gemini_batch.engine.errors import InputError

Row = dict[str, Any]

#: The kind decides the statistics: it is declared, because a scorer of floats may happen to give only 0 and 1.
Kind = Literal["boolean", "float"]

#: Why a row has a score or none: "missing" is a dead letter, "error" a scorer that raised, "unlabelled" a row whose
#: expected value is null or absent.
Status = Literal["scored", "missing", "error", "unlabelled"]

#: Longest explanation that is kept, in characters.
_LONGEST = 2000


class UnlabelledError(Exception):
    """Raised by a scorer for a row that has no expected value: it is neither right nor wrong."""


class Judged(NamedTuple):
    """What a scorer said of one row. ``score`` is None unless ``status`` is "scored"."""

    score: float | None
    passed: bool | None
    explanation: str | None
    status: Status


@dataclass(frozen=True)
class Scorer:
    """A scorer of your own, with a name and a kind.

    :param name: of the scores; unique among the scorers of one call.
    :param fn: from a row (a dict) to a bool, a float, or a dict with ``score`` and, if you like, ``passed`` and ``explanation``.
    :param kind: "boolean" or "float". Default (None): boolean if the function returns nothing but ``True`` and ``False``.
    :param worst, best: the bounds of a float's scores, without a default: rows that are missing are counted at them. A ``best``
        below ``worst`` means that lower is better. Booleans have 0 and 1.
    :param columns: of the row; other columns are not read. Default (None): all but ``response`` and ``media``.
    :param version: changes when the function gives other scores. With it, scores that exist are not made again; default
        (None): they are made again by each call.
    """

    name: str
    # Not in the text of a scorer, which a mapped task keeps in its DAG: an address in memory is another one at each parse.
    fn: Callable[[Row], Any] = field(repr=False)
    kind: Kind | None = None
    worst: float | None = None
    best: float | None = None
    columns: tuple[str, ...] | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"The name of a scorer is {self.name!r}; expected a text.")
        if not callable(self.fn):
            raise InputError(f"fn of the scorer {self.name!r} is {self.fn!r}; expected a function of a row.")
        if self.kind not in (None, "boolean", "float"):
            raise InputError(f"kind of the scorer {self.name!r} is {self.kind!r}; expected 'boolean', 'float' or None.")
        bounds = (self.worst, self.best)
        if self.kind == "boolean" and bounds not in ((None, None), (0, 1)):
            raise InputError(f"The scorer {self.name!r} is boolean, whose worst is 0 and best is 1; found {bounds}.")
        if (self.worst is None) != (self.best is None) or (self.worst is not None and self.worst == self.best):
            raise InputError(f"The scorer {self.name!r} needs both worst and best, and they must differ; found {bounds}.")


@dataclass(frozen=True)
class AskingScorer(Scorer):
    """A scorer that has asked a model: ``fn`` reads one of its answers, a dict.

    :param judge: what is asked.
    """

    judge: Any = None


def as_scorers(given: Any) -> list[Scorer]:
    """One or several scorers, or functions of a row. Raises InputError for two of one name."""
    several = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    scorers = [_as_scorer(one) for one in several]
    names = [scorer.name for scorer in scorers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"Two scorers have the name {twice[0]!r}. Give one of them another: name=…")
    if not scorers:
        raise InputError("No scorer was given. Give one or a list, for example [ExactMatch(expected='label')].")
    return scorers


def _as_scorer(given: Any) -> Scorer:
    if isinstance(given, Scorer):
        return given
    made = given.scorer() if hasattr(given, "scorer") and not isinstance(given, type) else None
    if isinstance(made, Scorer):
        return made
    name = getattr(given, "__name__", None)
    if callable(given) and not isinstance(given, type):
        return Scorer("score" if name in (None, "<lambda>") else str(name), given)
    raise InputError(f"{given!r} is not a scorer; expected ExactMatch(…), another class of scorers, or a function of a row.")


def score_row(scorer: Scorer, row: Row) -> Judged:
    """The scorer's word on a row; an exception becomes an explained error of this row alone."""
    try:
        return _judged(scorer.fn(row))
    except UnlabelledError as error:
        return Judged(None, None, str(error), "unlabelled")
    except Exception as error:  # any error of the user's code
        return Judged(None, None, _explained(f"{type(error).__name__}: {error}"), "error")


def _judged(said: Any) -> Judged:
    if isinstance(said, Mapping):
        if "score" not in said:
            raise InputError(f"the scorer returned a dict without 'score': {sorted(map(str, said))}")
        score, passed = _number(said["score"])
        given, why = said.get("passed"), said.get("explanation")
        return Judged(score, passed if given is None else bool(given), None if why is None else _explained(str(why)), "scored")
    score, passed = _number(said)
    return Judged(score, passed, None, "scored")


def _explained(text: str) -> str:
    """Short enough, and without the halves of surrogate pairs that Arrow refuses."""
    return text[:_LONGEST].encode("utf-8", "replace").decode()


def _number(said: Any) -> tuple[float, bool | None]:
    """The score, and whether the row passed where the scorer says yes or no."""
    if said is True or said is False:
        return float(said), said
    if hasattr(said, "item") and not isinstance(said, (int, float)):  # a scalar of numpy
        return _number(said.item())
    if not isinstance(said, (int, float)):
        raise InputError(f"the scorer returned {said!r} ({type(said).__name__}); expected a bool, a float or a dict")
    if not math.isfinite(said):
        raise InputError(f"the scorer returned {said}, which is not a score")
    return float(said), None
