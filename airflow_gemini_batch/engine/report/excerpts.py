"""Texts of rows cut to a size, as they may stand in a page that is kept.

The size is that of the HTML that shows the text, in bytes: what limits a page is its size, and a text of control characters or
markup becomes several times as long when it is made harmless.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from airflow_gemini_batch.engine.printable import masked, printable

#: Bytes of a character in HTML, where they are more than in UTF-8.
_ESCAPED = {"&": 5, "<": 4, ">": 4, '"': 5, "'": 5}

#: How much of a long text is its beginning. What belongs to a row may be at the end, behind a long prompt.
_HEAD = 0.6

#: Characters beyond a cut that are looked at, so that an API key which the cut goes through is seen as one.
_LONGEST_KEY = 256


def excerpt(text: str, room: int) -> str:
    """The text in one line, without what acts on a terminal or a page. Of a long one the beginning and the end.

    :param room: bytes of HTML that it may take, besides the words that stand for what is left out.
    """
    return _cut(text, room, printable)


def text_block(text: str, room: int) -> str:
    """The same with its lines and tabs."""
    return _cut(text.replace("\r\n", "\n"), room, printable_lines)


def bytes_in_html(text: str) -> int:
    return sum(map(_bytes_of, text))


def printable_lines(text: str) -> str:
    """The text without what acts on a terminal or a page, except lines and tabs."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def _cut(text: str, room: int, cleaned: Callable[[str], str]) -> str:
    if len(text) <= room and bytes_in_html(whole := cleaned(text)) <= room:
        return whole
    # A character takes at least a byte, so no more of them can be shown, and a long text is not gone through.
    head = _fitting(masked(text[: room + _LONGEST_KEY]), int(room * _HEAD), cleaned)
    tail = _fitting(reversed(masked(text[-room - _LONGEST_KEY :])), room - int(room * _HEAD), cleaned)
    left_out = max(1, len(text) - len(head) - len(tail))
    return f"{''.join(head)}… ({left_out:,} characters left out) …{''.join(reversed(tail))}"


def _fitting(characters: Iterable[str], room: int, cleaned: Callable[[str], str]) -> list[str]:
    """The first characters, in their harmless forms, that have room."""
    shown: list[str] = []
    for character in characters:
        harmless, size = _cleaned(character, cleaned)
        room -= size
        if room < 0:
            break
        shown.append(harmless)
    return shown


@functools.lru_cache(4096)  # texts repeat their characters
def _cleaned(character: str, cleaned: Callable[[str], str]) -> tuple[str, int]:
    harmless = cleaned(character)
    return harmless, bytes_in_html(harmless)


def _bytes_of(character: str) -> int:
    return _ESCAPED.get(character) or len(character.encode())
