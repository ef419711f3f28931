"""What the works find in their folders: ``python -m benching.preparing NAME FOLDER ROWS``. It is not measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benching import many_files, tables, transferring, waiting


def _answered(kind: str) -> Callable[[Path, int], None]:
    def make(folder: Path, rows: int) -> None:
        tables.make_table(folder / "table.parquet", rows)
        if kind == "text":
            tables.halve(folder / "table.parquet", folder / "halves")
        tables.make_outputs(tables.build(folder / "table.parquet", folder / "run", kind), kind)

    return make


PREPARED: dict[str, Callable[[Path, int], None]] = {
    "text": _answered("text"),
    "structured": _answered("structured"),
    "embeddings": _answered("embeddings"),
    "many": lambda folder, _: many_files.make_files(folder / "files"),
    "transfer": lambda folder, _: transferring.make_content(folder / "content"),
    "finished": lambda folder, _: waiting.finish_run(folder),
    "waiting": lambda folder, _: None,
}

if __name__ == "__main__":
    PREPARED[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
