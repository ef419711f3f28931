"""Two texts side by side, with the words marked that differ.

Its work is bounded: of long texts the first words are compared one by one, and what follows them as a whole. Long stretches that
both sides share are cut in their middle, so that what differs is seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from airflow_gemini_batch.engine.report.excerpts import bytes_in_html, text_block

#: Scripts without spaces between words, and punctuation. What is neither is part of a word, marks of vowels too.
_SINGLE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_PUNCTUATION = r"!-/:-@\[-`{-~\u2000-\u206f\u3000-\u303f\uff00-\uff0f"

#: A number, a word, or a single character, with the white space that follows: it is not compared. Other white space is alone.
_TOKEN = re.compile(rf"(?:\d+(?:[.,]\d+)*|[^\s\d{_SINGLE}{_PUNCTUATION}][^\s{_SINGLE}{_PUNCTUATION}]*|\S)\s*|\s+")

#: Bytes of HTML of a text that is looked at, and tokens that are compared one by one: the matcher's time grows with their square.
_LOOKED_AT, _COMPARED = 6_000, 300

#: Tokens that both sides share, kept on each side of a change.
_KEPT = 12

#: From this length on, texts with fewer equal tokens than this share have nothing in common; marks would cover everything.
_LONG, _ALIKE = 12, 0.2

#: Bytes that a mark adds.
_MARK = 11


class Piece(NamedTuple):
    """A part of a text; ``changed``: the other side has not this. ``gap``: words that stand for what is left out."""

    text: str
    changed: bool = False
    gap: bool = False


class Diff(NamedTuple):
    """Both sides as pieces. ``rewritten``: so little is equal that nothing is marked."""

    baseline: tuple[Piece, ...]
    candidate: tuple[Piece, ...]
    rewritten: bool = False


def word_diff(baseline: str, candidate: str, room: int) -> Diff:
    """
    :param room: bytes of HTML that each side may take, besides the words that stand for what is left out.
    """
    sides = [text_block(text, _LOOKED_AT) for text in (baseline, candidate)]
    first, second = (_TOKEN.findall(side) for side in sides)
    if sides[0] == sides[1]:
        alone = _fitted([Piece(sides[0])] if sides[0] else [], room)
        return Diff(alone, alone)
    matcher = SequenceMatcher(None, _compared(first), _compared(second))
    longest = max(len(first), len(second))
    if longest >= _LONG and matcher.ratio() < _ALIKE:
        return Diff(_fitted([Piece(sides[0])], room), _fitted([Piece(sides[1])], room), rewritten=True)
    left: list[Piece] = []
    right: list[Piece] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            left += _shared(first[a:b], is_first=not left, is_last=b == len(first))
            right += _shared(second[c:d], is_first=not right, is_last=d == len(second))
        else:
            left += _changed(first[a:b])
            right += _changed(second[c:d])
    tails = first[_COMPARED:], second[_COMPARED:]
    alike = _compared(tails[0], None) == _compared(tails[1], None)
    left += _shared(tails[0], is_first=not left, is_last=True) if alike else _changed(tails[0])
    right += _shared(tails[1], is_first=not right, is_last=True) if alike else _changed(tails[1])
    return Diff(_fitted(left, room), _fitted(right, room))


def _compared(tokens: Sequence[str], most: int | None = _COMPARED) -> list[str]:
    """What is compared of them: white space is not."""
    return [token.strip() for token in tokens[:most]]


def _changed(tokens: Sequence[str]) -> list[Piece]:
    """A mark does not cover the white space behind it."""
    text = "".join(tokens)
    marked = text.rstrip() or text
    return [piece for piece in (Piece(marked, changed=True), Piece(text[len(marked) :])) if piece.text]


def _shared(tokens: Sequence[str], *, is_first: bool, is_last: bool) -> list[Piece]:
    """What both sides have: around a change all of it, further away only that it is there."""
    head, tail = (0 if is_first else _KEPT), (0 if is_last else _KEPT)
    if len(tokens) <= head + tail + _KEPT:
        return [Piece("".join(tokens))] if tokens else []
    left_out = "".join(tokens[head : len(tokens) - tail])
    pieces = Piece("".join(tokens[:head])), _gap(left_out), Piece("".join(tokens[len(tokens) - tail :]))
    return [piece for piece in pieces if piece.text]


def _gap(left_out: str) -> Piece:
    return Piece(f" … ({len(left_out):,} equal characters) … ", gap=True)


def _fitted(pieces: Sequence[Piece], room: int) -> tuple[Piece, ...]:
    """The first pieces that have room; the one where it ends is cut, and the rest is counted."""
    shown: list[Piece] = []
    for place, piece in enumerate(pieces):
        needed = bytes_in_html(piece.text) + (_MARK if piece.changed or piece.gap else 0)
        if needed > room:
            shown.append(piece._replace(text=text_block(piece.text, max(0, room - _MARK))))
            rest = sum(len(other.text) for other in pieces[place + 1 :])
            return (*shown, Piece(f" … ({rest:,} characters left out)", gap=True)) if rest else tuple(shown)
        shown.append(piece)
        room -= needed
    return tuple(shown)
