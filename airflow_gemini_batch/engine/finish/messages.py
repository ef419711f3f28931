"""The most frequent messages of the dead letters: what a person wants to read first."""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec
import pyarrow as pa

#: Messages that are shown for each reason.
_SHOWN = 3

#: Distinct messages that are counted for each reason. Messages may differ in every row, and the table may be large.
_COUNTED = 1000


class MessageCount(msgspec.Struct, frozen=True):
    """A message, and how many dead letters have it."""

    message: str
    rows: int


#: Reason -> its most frequent messages, the most frequent first.
Messages = dict[str, tuple[MessageCount, ...]]


class MessageCounter:
    """Counts messages by reason, in bounded memory. Counts are exact unless a reason has more than 1,000 distinct messages."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, dead_letters: pa.RecordBatch) -> None:
        """
        :param dead_letters: their columns ``reason`` and ``message``.
        """
        pairs = Counter(zip(dead_letters.column("reason").to_pylist(), dead_letters.column("message").to_pylist(), strict=True))
        for (reason, message), rows in pairs.items():
            self._count(reason, message or "", rows)

    def merge(self, other: MessageCounter) -> None:
        """Add what another one has counted, of rows that come after those that were counted here."""
        for reason, counts in other._counts.items():
            for message, rows in counts.items():
                self._count(reason, message, rows)

    def _count(self, reason: str, message: str, rows: int) -> None:
        counts = self._counts[reason]
        counts[message] += rows
        if len(counts) > 2 * _COUNTED:
            self._counts[reason] = Counter(dict(counts.most_common(_COUNTED)))

    def most_frequent(self) -> Messages:
        return {
            reason: tuple(MessageCount(message, rows) for message, rows in counts.most_common(_SHOWN))
            for reason, counts in sorted(self._counts.items())
        }


def in_words(messages: Messages) -> str:
    """The most frequent messages of all reasons, for a log line: ``'quota' (12), 'no such model' (3)``."""
    counted = sorted((one for several in messages.values() for one in several), key=lambda one: -one.rows)
    return ", ".join(f"{one.message[:200]!r} ({one.rows})" for one in counted[:_SHOWN])
