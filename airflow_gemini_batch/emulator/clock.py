"""The emulator's clock: the machine's wall clock plus an offset that tests can increase.

It counts nanoseconds since 1970. A test can skip 48 hours in one call. The offset never decreases, so whatever has expired stays
expired, also after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone

SECOND = 1_000_000_000
HOUR = 3600 * SECOND

#: The year 2200. Much later, nanoseconds would not fit into the 64-bit integers of SQLite.
_FARTHEST_SECONDS = 7_258_118_400


class Clock:
    """Wall time plus an offset in nanoseconds that only grows. `save` is called with each new offset, to store it."""

    def __init__(self, offset_ns: int = 0, save: Callable[[int], None] = lambda offset_ns: None) -> None:
        self._offset_ns = offset_ns
        self._save = save

    def now(self) -> int:
        return time.time_ns() + self._offset_ns

    def advance(self, seconds: float) -> int:
        """Returns the new time. Raises ValueError for a negative number, or one that leads beyond the year 2200."""
        if not 0 <= seconds <= _FARTHEST_SECONDS - time.time() - self._offset_ns / SECOND:
            raise ValueError(f"the clock only moves forward, and not beyond the year 2200; found {seconds} seconds")
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
