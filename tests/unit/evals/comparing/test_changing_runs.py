"""Runs and scores that change while they are compared, or that are not whole: nothing is left out in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.evals import ScorerTotals, compare, load_comparison
from benchmarks.finished_runs import scores_of, write_run

KEYS = [f"k{number}" for number in range(10)]


def made(folder: Path, scored: list[str] = KEYS) -> str:
    results = pa.table({"key": KEYS, "text": KEYS})
    size = len(scored)
    scores = scores_of({"key": scored, "scorer": ["right"] * size, "score": [1.0] * size, "status": ["scored"] * size})
    totals = [ScorerTotals("right", "boolean", size, 0, 0, 0, 1.0, 0.0, 1.0)]
    write_run(folder, [results], [], [scores], totals, run_id=folder.name)
    return str(folder)


@pytest.mark.parametrize("changed", ["summary.json", "scores/default/_scores.json"])
def test_a_run_that_changes_while_it_is_read_is_not_compared(tmp_path: Path, changed: str) -> None:
    first, second = made(tmp_path / "a"), made(tmp_path / "b")

    class Changing(LocalFileSystem):  # type: ignore[misc]
        """Somebody redrives or scores the run as soon as the pairs are written."""

        def ls(self, path: str, *given: Any, **named: Any) -> Any:
            if Path(second, "comparisons/default/pairs-00000.parquet").exists():
                file = Path(second, changed)
                file.write_bytes(file.read_bytes().replace(b"2026-11-28T06", b"2026-11-28T07"))
            return super().ls(path, *given, **named)

    with pytest.raises(DestinationError, match="changed while they were compared"):
        compare(first, Location(Changing(skip_instance_cache=True), second, second))
    with pytest.raises(DestinationError, match="holds no comparison"):
        load_comparison(second)


def test_a_row_that_the_scores_do_not_have_is_counted_as_missing(tmp_path: Path) -> None:
    found = compare(made(tmp_path / "a"), made(tmp_path / "b", KEYS[:7]))["right"]

    assert (found.n, found.missing) == (7, {"baseline": {}, "candidate": {"missing": 3}})
    assert found.bounds is not None
    assert (found.bounds.low, found.bounds.high) == (-0.3, 0.0)
    assert Run(locate(str(tmp_path / "b"))).summary_file.exists()
