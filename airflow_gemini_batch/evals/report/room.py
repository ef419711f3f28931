"""How much of texts and lists a page has room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from airflow_gemini_batch.engine.report.excerpts import excerpt

_T = TypeVar("_T")

#: Bytes of HTML of a short text: a name, a label, a warning.
_SHORT = 300


class Room(NamedTuple):
    """
    :param detail: of everything that is planned for, from 0 to 1.
    :param pages: comparisons that share the page.
    """

    detail: float = 1.0
    pages: int = 1

    def short(self, text: str, most: int = _SHORT) -> str:
        """The text in one line, without what acts on a page; of a long one the beginning and the end."""
        return excerpt(text, max(40, int(most * self.detail)))

    def count(self, most: int) -> int:
        """How many of a list, at most."""
        return max(1, int(most * self.detail / self.pages))

    def first(self, items: Sequence[_T], most: int) -> tuple[Sequence[_T], int]:
        """The first ones, and how many are left out."""
        shown = items[: self.count(most)]
        return shown, len(items) - len(shown)
