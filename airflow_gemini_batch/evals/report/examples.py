"""Answers of both runs to the same key, side by side, with their differences marked."""

from __future__ import annotations

from typing import NamedTuple

from airflow_gemini_batch.engine.report.excerpts import excerpt
from airflow_gemini_batch.evals.comparison import Answer, Comparison, Example
from airflow_gemini_batch.evals.report import figures
from airflow_gemini_batch.evals.report.room import Room
from airflow_gemini_batch.evals.report.word_diff import Diff, Piece, word_diff
from airflow_gemini_batch.evals.scorers import Kind

#: Examples on a page.
MOST_EXAMPLES = 200

#: Examples of each scorer that are open when the page is.
_OPEN = 2

#: Bytes of HTML for the texts of all examples, and the most that one of them gets.
_ALL_ROOM, _EXAMPLE_ROOM = 230_000, 4_500

#: What each text gets of an example's room, and how many carried columns are shown.
_ANSWER, _EXPECTED, _CARRIED, _EXPLANATION, _KEY = 0.28, 0.08, 0.06, 0.06, 0.06
_COLUMNS = 4

#: Bytes of HTML of the text beside a key, by which an example is told from others before it is opened.
_PREVIEW = 120


class ShownAnswer(NamedTuple):
    """
    :param score: with its side's name in words.
    :param pieces: of the text; empty without one, and ``reason`` says why.
    :param notes: finish reason, repeats, what was cut.
    """

    score: str
    pieces: tuple[Piece, ...]
    reason: str
    explanation: str
    notes: tuple[str, ...]


class ShownExample(NamedTuple):
    """
    :param preview: how what was asked begins, or else an answer.
    """

    key: str
    preview: str
    difference: str
    baseline: ShownAnswer
    candidate: ShownAnswer
    expected: str
    carried: tuple[tuple[str, str], ...]
    rewritten: bool
    is_open: bool


class ExampleGroup(NamedTuple):
    """Examples of one scorer, in their order."""

    scorer: str
    examples: tuple[ShownExample, ...]


class Examples(NamedTuple):
    """Wins or losses. ``left_out`` of them are in the document, and not on the page."""

    groups: tuple[ExampleGroup, ...]
    shown: int
    left_out: int


def examples_of(comparison: Comparison, change: str, room: Room) -> Examples:
    """:param change: "regressed" or "improved"."""
    found = [example for example in comparison.examples if example.change == change]
    both = min(len(comparison.examples), MOST_EXAMPLES)
    # What one of the two lists does not need, the other one has.
    others = len(comparison.examples) - len(found)
    shown, left_out = room.first(found, max(MOST_EXAMPLES // 2, MOST_EXAMPLES - others))
    bytes_each = min(_EXAMPLE_ROOM, _ALL_ROOM // max(1, both)) / room.pages * room.detail
    kinds = {scorer.name: scorer.kind for scorer in comparison.scorers}
    groups: dict[str, list[ShownExample]] = {}
    for example in shown:
        of_scorer = groups.setdefault(example.scorer, [])
        is_open = len(of_scorer) < _OPEN
        of_scorer.append(_shown(example, kinds.get(example.scorer, "float"), room, bytes_each, is_open=is_open))
    return Examples(
        tuple(ExampleGroup(room.short(name), tuple(of_scorer)) for name, of_scorer in groups.items()), len(shown), left_out
    )


def _shown(example: Example, kind: Kind, room: Room, bytes_each: float, *, is_open: bool) -> ShownExample:
    baseline, candidate = example.baseline.text, example.candidate.text
    answer_room = int(_ANSWER * bytes_each)
    if baseline is not None and candidate is not None:
        diff = word_diff(baseline, candidate, answer_room)
    else:
        # Compared with itself nothing is marked.
        alone = [word_diff(text, text, answer_room).baseline if text is not None else () for text in (baseline, candidate)]
        diff = Diff(alone[0], alone[1])
    carried = [(name, value) for name, value in example.carried.items() if value != example.expected][:_COLUMNS]
    return ShownExample(
        room.short(example.key, int(_KEY * bytes_each)),
        _preview(example, int(_PREVIEW * room.detail)),
        figures.difference(example.difference, kind),
        _answer(example.baseline, kind, diff.baseline, room, bytes_each),
        _answer(example.candidate, kind, diff.candidate, room, bytes_each),
        "" if example.expected is None else room.short(example.expected, int(_EXPECTED * bytes_each)),
        tuple((room.short(name, 80), room.short(value, int(_CARRIED * bytes_each))) for name, value in carried),
        diff.rewritten,
        is_open,
    )


def _preview(example: Example, room: int) -> str:
    texts = (*example.carried.values(), example.candidate.text, example.baseline.text)
    begin = next((text.strip() for text in texts if text and text.strip()), "")
    return excerpt(begin[:room], room)


def _answer(answer: Answer, kind: Kind, pieces: tuple[Piece, ...], room: Room, bytes_each: float) -> ShownAnswer:
    notes = (
        room.short(answer.finish_reason, 60) if answer.finish_reason and answer.finish_reason != "STOP" else "",
        f"{answer.repeats:,} answers, this is one" if answer.repeats > 1 else "",
        f"{answer.cut:,} more characters" if answer.cut else "",
    )
    return ShownAnswer(
        _score(answer, kind),
        pieces,
        room.short(answer.reason or "no text", 120) if answer.text is None else "",
        room.short(answer.explanation or "", int(_EXPLANATION * bytes_each)),
        tuple(note for note in notes if note),
    )


def _score(answer: Answer, kind: Kind) -> str:
    if answer.score is None:
        return "no score"
    if kind == "boolean" and answer.repeats == 1 and answer.score in (0, 1):
        return "passed" if answer.score else "failed"
    return figures.score(answer.score, kind)
