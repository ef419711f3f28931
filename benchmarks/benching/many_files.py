"""10,000 small files on a store where each call takes 30 ms become request files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

Work = Callable[[], object]

FILES = 10_000
FILE_ROWS = 20
#: How many files the samples' loop reads; its time is multiplied.
SAMPLED_FILES = 100
CALL_SECONDS = 0.03
#: How many names a listing of S3 brings.
_NAMES_IN_A_CALL = 1000


class SlowStore(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files of the local disk, of which every call takes 30 ms, as on an object store."""

    cachable = False

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        time.sleep(CALL_SECONDS)
        return open(path, mode)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        time.sleep(CALL_SECONDS)
        return _entry(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        names = sorted(os.listdir(path))
        time.sleep(CALL_SECONDS * max(1, len(names) / _NAMES_IN_A_CALL))
        return [_entry(f"{path}/{name}") for name in names] if detail else [f"{path}/{name}" for name in names]

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        time.sleep(CALL_SECONDS)
        return Path(path).read_bytes()[start:end]


def _entry(path: str) -> dict[str, Any]:
    found = os.stat(path)
    kind = "directory" if os.path.isdir(path) else "file"
    return {"name": path, "size": found.st_size, "type": kind, "ETag": f"{found.st_mtime_ns}"}


def make_files(folder: Path) -> None:
    import pyarrow.parquet as pq

    from benching.tables import make_table

    make_table(folder.parent / "many.parquet", FILES * FILE_ROWS)
    table = pq.read_table(folder.parent / "many.parquet")
    folder.mkdir()
    for number in range(FILES):
        pq.write_table(table.slice(number * FILE_ROWS, FILE_ROWS), folder / f"part-{number:05d}.parquet")


def samples(folder: Path) -> Work:
    """Each file read when its turn comes; 1 % of them."""
    import pandas as pd
    import pyarrow.parquet  # noqa: F401  # what pandas reads Parquet with

    store = SlowStore()

    def work() -> None:
        for entry in store.ls(str(folder / "files"))[:SAMPLED_FILES]:
            with store.open(entry["name"], "rb") as file:
                pd.read_parquet(file)

    return work


def ours(folder: Path) -> Work:
    from airflow_gemini_batch.engine.run.storage import Location
    from benching.tables import build

    store = SlowStore()
    return lambda: build(f"{folder}/files", folder / "built", locate=lambda uri: Location(store, uri, uri))
