"""A store on which files open only together: it shows, without a clock, that readers open many of them at the same time."""

from __future__ import annotations

import io
import threading
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem


class MeetingPlace(MemoryFileSystem):  # type: ignore[misc]
    """A file opens when so many are about to be opened: read one after the other, the first would not open at all.

    ``barrier`` is for so many readers, of the files whose path contains ``of``; ``most`` is how many have opened one at a time.
    """

    protocol = "meeting"
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def __init__(self) -> None:
        super().__init__()
        self.barrier: threading.Barrier | None = None
        self.of = ".landed.json"
        self.now = self.most = self.opened = 0
        self._counting = threading.Lock()

    def _open(self, path: str, mode: str = "rb", **arguments: Any) -> Any:
        if self.barrier is not None and mode == "rb" and self.of in path:
            with self._counting:
                self.opened += 1
                self.now += 1
                self.most = max(self.most, self.now)
            self.barrier.wait(timeout=30)
            with self._counting:
                self.now -= 1
        file = super()._open(path, mode, **arguments)
        return io.BytesIO(file.getvalue()) if mode == "rb" else file  # the same object would be shared by all readers
