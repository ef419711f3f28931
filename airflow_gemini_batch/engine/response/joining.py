"""Which output line decides about which row.

Lines come in any order, duplicated, torn, or for keys that were not sent; positions mean nothing. Invariants: a line is joined by
its key alone, a row is decided once, and the first readable line decides. A torn line decides only when no other does.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from airflow_gemini_batch.engine.response.responses import Garbage, Refusal

# What is known of a row. One byte each: a shard has up to millions.
AWAITED, ANSWERED, REFUSED, TORN, NOT_SENT = range(5)


class Join:
    """The rows of one shard while its output is read.

    :param numbers: key -> row number, for the rows that were sent.
    :param rows: all rows of the shard.

    ``state`` is what is known of each row, ``line_at`` where the line that refused it (or is torn) begins in the output.
    ``aside_at`` lists the lines that decide about no row, and ``aside`` counts them: ``foreign`` for a key that was not sent,
    ``doubled`` for a key that was decided already, ``malformed`` for lines that are not JSON.
    """

    def __init__(self, numbers: dict[str, int], rows: int) -> None:
        self._numbers = numbers
        self.state = bytearray([NOT_SENT]) * rows
        for number in numbers.values():
            self.state[number] = AWAITED
        self.line_at = array("q", bytes(8 * rows))
        self.aside_at = array("q")
        self.aside = Counter(foreign=0, doubled=0, malformed=0)

    def answered(self, key: str, at: int) -> int | None:
        """Record the answer for this key that begins at ``at``. Returns the number of its row, if it decides about it."""
        number = self._numbers.get(key)
        if number is not None and self.state[number] == AWAITED:
            self.state[number] = ANSWERED
            return number
        return number if self._decides(number, at, ANSWERED) else None

    def all_answered(self, keys: Sequence[str]) -> list[int] | None:
        """Record answers for all these keys, if each of them decides about a row: the numbers of the rows. Else None, and nothing
        is recorded.
        """
        numbers = list(map(self._numbers.get, keys))
        if None in numbers or len(set(numbers)) < len(numbers):
            return None
        known = [number for number in numbers if number is not None]
        states = np.frombuffer(self.state, np.uint8)
        places = np.array(known, np.int64)
        if not (states[places] == AWAITED).all():
            return None
        states[places] = ANSWERED
        return known

    def decide(self, read: Refusal | Garbage, at: int) -> None:
        """Record the line that begins at ``at``."""
        number = None if read.key is None else self._numbers.get(read.key)
        if isinstance(read, Refusal):
            if self._decides(number, at, REFUSED) and number is not None:
                self.line_at[number] = at
        elif number is not None and self.state[number] == AWAITED:
            self.state[number], self.line_at[number] = TORN, at
        else:
            self._put_aside("malformed", at)

    def _decides(self, number: int | None, at: int, state: int) -> bool:
        """Record ``state`` if the line that begins at ``at`` decides about the row, else put it aside."""
        if number is None:
            self._put_aside("foreign", at)
            return False
        if self.state[number] in (ANSWERED, REFUSED):
            self._put_aside("doubled", at)
            return False
        if self.state[number] == TORN:
            self._put_aside("malformed", self.line_at[number])
        self.state[number] = state
        return True

    def refuse(self, number: int, at: int) -> None:
        """Record that the answer for this row does not have the requested form."""
        self.state[number], self.line_at[number] = REFUSED, at

    def _put_aside(self, why: str, at: int) -> None:
        self.aside_at.append(at)
        self.aside[why] += 1
