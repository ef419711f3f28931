"""Structured output: the answer's text is JSON that satisfies the request's schema, and becomes the ``parsed`` column.

Strict about the content, tolerant about the wrapping: one Markdown fence around the whole answer is taken off, and raw line
breaks inside of strings are accepted; an answer that is then not valid for the schema is not a result. Where the model used tools
on the way and the whole text is not JSON, the text after the last tool part is judged.
A bad answer slows down only itself: good ones are read many at once (``parsed_texts``), or decoded, validated and written by
loops that run in C.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jsonschema_rs
import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.json.lenient import with_valid_unicode
from airflow_gemini_batch.engine.json.strict import no_constant
from airflow_gemini_batch.engine.response.candidates import first_candidate
from airflow_gemini_batch.engine.response.parsed_texts import ParsedTexts
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.shapes.answer_schema import ENUM, AnswerSchema, finding, shortened

#: Findings of the validator that are reported for one answer, and the characters of each.
_FINDINGS = 3

#: Raised by a column for a value that it cannot hold.
_UNFIT = (ArithmeticError, AttributeError, TypeError, ValueError)

#: Position in a batch -> why that answer does not have the requested form.
Problems = dict[int, str]


class ParsedColumn:
    """The ``parsed`` column of one schema.

    :param schema: JSON Schema. Raises InputError when it is not valid, or refers to something outside of itself.
    :param is_json: False: the answer is the bare word of an enum (``text/x.enum``). None: either.
    """

    name = "parsed"

    def __init__(self, schema: dict[str, Any], *, is_json: bool | None = True) -> None:
        checked = AnswerSchema.of(schema)
        self._form, self._validator = checked.form, checked.validator
        self._is_json = is_json
        #: Reads the values of many answers ahead; None where the schema demands more than it checks.
        self.texts = ParsedTexts.of(checked.judged, checked.form) if is_json else None
        self.type: pa.DataType = self._form.type

    @classmethod
    def of(cls, request: dict[str, Any]) -> ParsedColumn:
        """The column for a request as the manifest keeps it."""
        if "request" not in request:
            # Raw requests say it row by row, and a bare word can only be one of an enum.
            return cls(request["response_schema"], is_json=None if "enum" in request["response_schema"] else True)
        mime_type = request["request"]["generation_config"]["response_mime_type"]
        return cls(request["response_schema"], is_json=mime_type != ENUM)

    def read(self, answers: Sequence[Answer]) -> tuple[pa.Array, Problems]:
        """One value for each answer, null for those with a problem."""
        problems: Problems = {}
        decode: Callable[[Any], Any] = _decode
        texts = [answer.text for answer in answers]
        if self._is_json is False:
            decode, texts = _bare, [_last_text(answer) or answer.text for answer in answers]
        values = _each(decode, texts, problems, lambda row, error: self._unreadable(answers[row]))
        valid = _each(self._validator.is_valid, values, problems, lambda row, error: (False, shortened(str(error))))
        for row, is_valid in enumerate(valid):
            if not is_valid:
                values[row], problems[row] = None, problems.get(row) or self._complaint(values[row])
        return self._built(values, problems), problems

    def _unreadable(self, answer: Answer) -> tuple[Any, str | None]:
        """The value of an answer whose text as it stands is not JSON, or why it has none."""
        if answer.text is None:
            return None, "the answer holds no text, so no JSON"
        value, problem = _leniently(answer.text)
        if problem is not None and (last := _last_text(answer)) is not None:
            value, problem = _leniently(last)
        if problem is not None and self._is_json is None:
            word = (_last_text(answer) or answer.text).strip()
            return (word, None) if self._validator.is_valid(word) else (None, problem)
        return value, problem

    def _complaint(self, value: Any) -> str:
        findings = []
        for error in itertools.chain.from_iterable(map(_told, self._validator.iter_errors(value))):
            findings.append(finding(error))
            if len(findings) > _FINDINGS:
                findings[_FINDINGS:] = ["and more"]
                break
        return f"not valid for the response schema: {'; '.join(findings)}"

    def _built(self, values: list[Any], problems: Problems) -> pa.Array:
        if len(problems) == len(values):  # as when it is asked why one answer is none
            return pa.nulls(len(values), self.type)
        try:
            return self._form.build(values)
        except _UNFIT:
            self._refuse_unfit(values, range(len(values)), problems)
            return self._form.build(values)

    def _refuse_unfit(self, values: list[Any], rows: range, problems: Problems) -> None:
        """Finds by halving the values that are valid for the schema but do not fit the column, such as a huge number."""
        try:
            self._form.build(values[rows.start : rows.stop])
        except _UNFIT as error:
            if len(rows) > 1:
                half = len(rows) // 2
                self._refuse_unfit(values, rows[:half], problems)
                self._refuse_unfit(values, rows[half:], problems)
            else:
                values[rows.start] = None
                unfit = f"valid for the response schema, but not for the column {self.type}: {shortened(str(error))}"
                problems[rows.start] = unfit


def _each(
    function: Callable[[Any], Any],
    values: Sequence[Any],
    problems: Problems,
    rescue: Callable[[int, Exception], tuple[Any, str | None]],
) -> list[Any]:
    """``map`` with a fallback for rows at which the function raises: a value in their place, and their problem if any."""
    done: list[Any] = []
    left: Iterator[Any] = iter(values)
    while len(done) < len(values):
        try:
            done.extend(map(function, left))  # continues after the last error
        except (ValueError, TypeError, RecursionError) as error:
            row = len(done)
            value, problem = rescue(row, error)
            done.append(value)
            if problem is not None:
                problems[row] = problem
    return done


# --- one answer's text -----------------------------------------------------------------------------------------------

_decode = msgspec.json.Decoder().decode
_FENCED = re.compile(r"\s*```[A-Za-z0-9]*[ \t]*\r?\n(.*?)\r?\n?```\s*", re.DOTALL)


def _bare(text: str | None) -> str | None:
    return text.strip() if text is not None else _decode(None)  # type: ignore[arg-type]


def _last_text(answer: Answer) -> str | None:
    """The text after the answer's last part that is not text; None where all its text stands together."""
    texts = first_candidate(answer.response).texts
    return texts[-1] if len(texts) > 1 else None


_forgiving = json.JSONDecoder(strict=False, parse_constant=no_constant)


def _leniently(text: str) -> tuple[Any, str | None]:
    try:
        return _lenient(text), None
    except RecursionError:
        return None, "the answer is JSON that is nested too deeply to be read"
    except ValueError as error:
        return None, f"the answer is not JSON: {error}"


def _lenient(text: str) -> Any:
    """Accepts what models write and strict parsers refuse: a fence, raw line breaks in strings, lone surrogates."""
    fenced = _FENCED.fullmatch(text)
    value = _forgiving.decode(fenced[1] if fenced else text)
    return _decode(with_valid_unicode(json.dumps(value, ensure_ascii=False, allow_nan=False)))


def _told(error: jsonschema_rs.ValidationError) -> Sequence[jsonschema_rs.ValidationError]:
    """The errors of a value that may be null: those of the other alternative, at their own place."""
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.AnyOf):
        others = [found for found in error.kind.context if not all(map(_is_null_expected, found))]
        if len(others) == 1:
            return list(itertools.chain.from_iterable(map(_told, others[0])))
    return [error]


def _is_null_expected(error: jsonschema_rs.ValidationError) -> bool:
    return isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Type) and error.kind.types == ["null"]
