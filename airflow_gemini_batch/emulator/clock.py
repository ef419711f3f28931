"""The emulator's own clock: the machine's wall clock plus what a test has added to it.

It counts nanoseconds since 1970 and never runs backwards: 48 hours pass by asking for them, and what has
expired once stays expired, across restarts as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone

SECOND = 1_000_000_000
HOUR = 3600 * SECOND

#: The year 2200: behind it, nanoseconds would soon be more than the store can count.
_FARTHEST_SECONDS = 7_258_118_400


class Clock:
    """Wall time plus an offset that only grows; `save` keeps the offset durable."""

    def __init__(self, offset_ns: int = 0, save: Callable[[int], None] = lambda offset_ns: None) -> None:
        self._offset_ns = offset_ns
        self._save = save

    def now(self) -> int:
        return time.time_ns() + self._offset_ns

    def advance(self, seconds: float) -> int:
        if not 0 <= seconds <= _FARTHEST_SECONDS - time.time() - self._offset_ns / SECOND:
            raise ValueError(f"the clock goes forward only, and not beyond the year 2200; asked for {seconds} seconds")
        self._offset_ns += int(seconds * SECOND)
        self._save(self._offset_ns)
        return self.now()


def nanoseconds(seconds: float) -> int:
    return int(seconds * SECOND)


def timestamp_ns(moment: int) -> str:
    """RFC 3339 with nine digits, as the service writes the times of a batch."""
    return f"{_whole_seconds(moment)}.{moment % SECOND:09d}Z"


def timestamp_us(moment: int) -> str:
    """RFC 3339 with six digits, as the service writes the times of a file."""
    return f"{_whole_seconds(moment)}.{moment % SECOND // 1000:06d}Z"


def _whole_seconds(moment: int) -> str:
    return datetime.fromtimestamp(moment // SECOND, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
