"""A store on the disk whose writes a test can hold: to the run it is a file system like any other that is not local."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location


class HeldStore(DirFileSystem):  # type: ignore[misc]
    """Calls ``before`` with the path of each file that is about to be written, and ``after`` when one has been put there."""

    cachable = False
    before: Callable[[str], object] = staticmethod(lambda path: None)
    after: Callable[[str], object] = staticmethod(lambda path: None)

    def open(self, path: str, mode: str = "rb", **arguments: Any) -> Any:
        if "w" in mode:
            self.before(path)
        return super().open(path, mode, **arguments)

    def put_file(self, local: str, path: str, **arguments: Any) -> None:
        super().put_file(local, path, **arguments)
        self.after(path)


def run_in(folder: Path) -> tuple[Run, HeldStore]:
    """A run in a folder of the disk, and the store that it is in."""
    store = HeldStore(str(folder), LocalFileSystem(auto_mkdir=True))
    return Run(Location(store, "run", "held://run")), store
