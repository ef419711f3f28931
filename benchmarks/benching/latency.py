"""Calls of a store that take time and are counted, for file systems in the memory or on the disk of this machine."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar


class Latency:
    """A mixin before a file system of fsspec.

    :cvar seconds: what each call takes.
    :cvar calls: how many there were, of all stores of the class.
    """

    seconds: ClassVar[float] = 0.0
    calls: ClassVar[int] = 0
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def count(cls, calls: int = 1) -> None:
        """Take the time of so many calls."""
        with cls._lock:
            cls.calls += calls
        if cls.seconds:
            time.sleep(calls * cls.seconds)

    def info(self, path: str, **arguments: Any) -> Any:
        self.count()
        return super().info(path, **arguments)  # type: ignore[misc]

    def ls(self, path: str, detail: bool = True, **arguments: Any) -> Any:
        """A call lists a thousand files."""
        found = super().ls(path, detail=detail, **arguments)  # type: ignore[misc]
        self.count(1 + len(found) // 1000)
        return found
