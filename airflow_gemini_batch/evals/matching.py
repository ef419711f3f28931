"""The scorers that compare an answer with an expected value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals.scorers import Row, Scorer, UnlabelledError

#: Characters of a value in an explanation.
_SHOWN = 120

#: Digits with or without commas between thousands, a fraction, an exponent.
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+(?:[eE][-+]?\d+)?")

#: ``$.a.b[0]["c d"]``; the dollar and the first dot may be left out.
_STEP = re.compile(r"\.?([^.\[\]\"']+)|\[(\d+)\]|\[\"([^\"]*)\"\]|\['([^']*)'\]")


@dataclass(frozen=True, kw_only=True)
class _Matching:
    """Base of the scorers here: all are boolean.

    :param name: of the scores. Default: that of the class, in lower case.
    """

    default_name: ClassVar[str] = ""
    name: str = ""

    def scorer(self) -> Scorer:
        """As ``score`` takes it."""
        name = self.name or self.default_name
        version = f"{type(self).__name__} {json.dumps(asdict(self), sort_keys=True, default=str)}"
        return Scorer(name, self._function(), "boolean", columns=self._columns(), version=version)

    def _function(self) -> Callable[[Row], Any]:
        raise NotImplementedError

    def _columns(self) -> tuple[str, ...]:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class _TextMatching(_Matching):
    """Base of the scorers that compare two texts.

    :param expected: the column that holds the expected value: carried, or of the labels table. Default: ``expected``.
    :param actual: the column that is judged. Default: ``text``.
    :param ignore_case: whether upper and lower case are the same. Default: False.
    """

    expected: str = "expected"
    actual: str = "text"
    ignore_case: bool = False

    def _columns(self) -> tuple[str, ...]:
        return (self.expected, self.actual)

    def _function(self) -> Callable[[Row], Any]:
        def matches(row: Row) -> Any:
            wanted, found = _as_text(_expected(row, self.expected)).strip(), row.get(self.actual)
            if found is None:
                return _failed(f"{self.actual} is null")
            given = _as_text(found).strip()
            if self._accepts(*((wanted.casefold(), given.casefold()) if self.ignore_case else (wanted, given))):
                return True
            return _failed(f"expected {_short(wanted)}, found {_short(given)}")

        return matches

    def _accepts(self, wanted: str, given: str) -> bool:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ExactMatch(_TextMatching):
    """The answer is the expected text; white space around both is not counted.

    :param expected: the column that holds the expected value: carried, or of the labels table. Default: ``expected``.
    :param actual: the column that is judged. Default: ``text``.
    :param ignore_case: whether upper and lower case are the same. Default: False.
    """

    default_name = "exact_match"

    def _accepts(self, wanted: str, given: str) -> bool:
        return wanted == given


@dataclass(frozen=True, kw_only=True)
class Contains(_TextMatching):
    """The expected text stands somewhere in the answer. The arguments are those of ``ExactMatch``."""

    default_name = "contains"

    def _accepts(self, wanted: str, given: str) -> bool:
        return wanted in given


@dataclass(frozen=True, kw_only=True)
class Regex(_Matching):
    """The answer has a match of a regular expression.

    :param pattern: searched anywhere in the answer; anchor it (``^…$``) to match the whole. ``(?i)`` ignores case.
    :param expected: a column whose value the first group of the match, or the match itself, must equal. Default: none, any
        match will do.
    :param actual: the column that is judged. Default: ``text``.
    """

    default_name = "regex"
    pattern: str = field(kw_only=False)
    expected: str | None = None
    actual: str = "text"

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except (re.error, TypeError) as error:
            raise InputError(f"pattern is {self.pattern!r}, which is not a regular expression: {error}.") from error

    def _columns(self) -> tuple[str, ...]:
        return (self.actual,) if self.expected is None else (self.expected, self.actual)

    def _function(self) -> Callable[[Row], Any]:
        compiled = re.compile(self.pattern)

        def matches(row: Row) -> Any:
            wanted = None if self.expected is None else _as_text(_expected(row, self.expected)).strip()
            found = row.get(self.actual)
            match = None if found is None else compiled.search(_as_text(found))
            if match is None:
                return _failed(f"no match of {self.pattern} in {_short(found)}")
            caught = (match[1] if compiled.groups else match[0]) or ""
            return True if wanted in (None, caught.strip()) else _failed(f"expected {_short(wanted)}, found {_short(caught)}")

        return matches


@dataclass(frozen=True, kw_only=True)
class NumericClose(_Matching):
    """A number in the answer is close to the expected one.

    :param expected: the column with the expected number, or a text with one. Default: ``expected``.
    :param actual: the column that is judged. Default: ``text``.
    :param rel_tol: difference that is accepted, as a share of the larger of the two. Default: 1e-6.
    :param abs_tol: difference that is accepted whatever the size. Default: 0.
    :param take: which number of a text counts: "last" (the default, as answers end with their result) or "first".
    """

    default_name = "numeric_close"
    expected: str = "expected"
    actual: str = "text"
    rel_tol: float = 1e-6
    abs_tol: float = 0.0
    take: Literal["last", "first"] = "last"

    def __post_init__(self) -> None:
        if self.take not in ("last", "first"):
            raise InputError(f"take is {self.take!r}; expected 'last' or 'first'.")
        if min(self.rel_tol, self.abs_tol) < 0:
            raise InputError(f"rel_tol is {self.rel_tol} and abs_tol {self.abs_tol}; expected 0 or more.")

    def _columns(self) -> tuple[str, ...]:
        return (self.expected, self.actual)

    def _function(self) -> Callable[[Row], Any]:
        def is_close(row: Row) -> Any:
            label = _expected(row, self.expected)
            wanted = self._number(label)
            if wanted is None:
                raise InputError(f"the expected value {_short(label)} holds no number")
            found = self._number(row.get(self.actual))
            if found is None:
                return _failed(f"no number in {_short(row.get(self.actual))}")
            if math.isclose(wanted, found, rel_tol=self.rel_tol, abs_tol=self.abs_tol):
                return True
            return _failed(f"expected {wanted:g}, found {found:g}")

        return is_close

    def _number(self, value: Any) -> float | None:
        if value is None or isinstance(value, bool):
            return None
        if not isinstance(value, str):
            return float(value)
        numbers = _NUMBER.findall(value)
        return float(numbers[-1 if self.take == "last" else 0].replace(",", "")) if numbers else None


@dataclass(frozen=True, kw_only=True)
class JsonMatch(_Matching):
    """A field of a structured answer equals the expected value.

    :param path: of the field, such as ``label``, ``$.items[0].name`` or ``$["two words"]``. ``$`` is the whole answer.
    :param expected: the column with the expected value; a text that is JSON is compared as what it says. Default: ``expected``.
    :param actual: the column that is judged: a struct, or a text that is JSON. Default: ``parsed`` where the run has it, else
        ``text``.
    """

    default_name = "json_match"
    path: str = field(kw_only=False)
    expected: str = "expected"
    actual: str = "parsed|text"

    def __post_init__(self) -> None:
        _steps(self.path)

    def _columns(self) -> tuple[str, ...]:
        return (self.expected, self.actual)

    def scorer(self) -> Scorer:
        made = super().scorer()
        return (
            made if self.name else Scorer(f"json_match:{self.path}", made.fn, made.kind, None, None, made.columns, made.version)
        )

    def _function(self) -> Callable[[Row], Any]:
        steps = _steps(self.path)

        def matches(row: Row) -> Any:
            wanted = _expected(row, self.expected)
            answer: Any = next((row[name] for name in self.actual.split("|") if row.get(name) is not None), None)
            if isinstance(answer, str):
                try:
                    answer = json.loads(answer)
                except ValueError:
                    return _failed(f"the answer is not JSON: {_short(answer)}")
            for step in steps:
                if not _has(answer, step):
                    return _failed(f"the answer has no {self.path}")
                answer = answer[step]
            return True if _same(wanted, answer) else _failed(f"expected {_short(wanted)}, found {_short(answer)}")

        return matches


def _has(value: Any, step: str | int) -> bool:
    return step in value if isinstance(value, dict) else isinstance(value, list) and isinstance(step, int) and step < len(value)


def _steps(path: str) -> list[str | int]:
    rest = path.strip().removeprefix("$") if isinstance(path, str) else ""
    steps: list[str | int] = []
    while rest:
        match = _STEP.match(rest)
        if match is None:
            break
        steps.append(int(match[2]) if match[2] else match[1] or match[3] or match[4] or "")
        rest = rest[match.end() :]
    if rest or not isinstance(path, str) or not path.strip():
        raise InputError(f"path is {path!r}; expected the path of a field, such as label or $.items[0].name.")
    return steps


def _same(wanted: Any, found: Any) -> bool:
    """Equal as JSON, or as texts: the expected value is often kept in a column of texts."""
    if wanted == found and isinstance(wanted, bool) == isinstance(found, bool):
        return True
    if not isinstance(wanted, str):
        return False
    if not isinstance(found, str):
        try:
            return _same(json.loads(wanted), found) if not isinstance(json.loads(wanted), str) else False
        except ValueError:
            return False
    return wanted.strip() == found.strip()


def _expected(row: Row, column: str) -> Any:
    value = row.get(column)
    if value is None:
        raise UnlabelledError(f"{column} is null")
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _failed(why: str) -> dict[str, Any]:
    return {"score": False, "explanation": why}


def _short(value: Any) -> str:
    text = _as_text(value)
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")
