"""Check a finished run from outside: the jobs as the service lists them, and the rows as any reader of the tables sees them.

Nothing here relies on what the engine reports about itself.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crashing.calls import CARRIED


@dataclass
class Findings:
    """Counts for one run, or for several together.

    :param rows, results, dead_letter: rows of the source and of the two tables.
    :param lost: keys of the source that are in neither table.
    :param duplicated: rows whose key is in the tables more than once, not counting the first.
    :param mismatched: rows that hold a carried column, an answer or a request of another key.
    :param unknown_keys: rows whose key is not in the source.
    :param jobs: jobs that the service created.
    :param most_jobs: the most jobs that were created for one shard and attempt.
    :param duplicate_jobs: jobs for a shard and attempt that already had one.
    :param wrong_summaries: summaries that do not agree with the tables, or cannot be read.
    """

    rows: int = 0
    results: int = 0
    dead_letter: int = 0
    lost: int = 0
    duplicated: int = 0
    mismatched: int = 0
    unknown_keys: int = 0
    jobs: int = 0
    most_jobs: int = 0
    duplicate_jobs: int = 0
    wrong_summaries: int = 0

    def add(self, other: Findings) -> None:
        for name, value in asdict(other).items():
            setattr(self, name, max(self.most_jobs, value) if name == "most_jobs" else getattr(self, name) + value)

    @property
    def errors(self) -> int:
        """How many things are wrong; 0 for a correct run."""
        return self.lost + self.duplicated + self.mismatched + self.unknown_keys + self.duplicate_jobs + self.wrong_summaries


def audit(destination: str, source: str, display_names: list[str]) -> Findings:
    """Compare the tables of a finished run with its source, key by key and text by text.

    :param destination, source: local paths.
    :param display_names: the display name of each job that the service created. Only those that start with ``gb-`` count.
    """
    expected = pq.read_table(source)
    folder = Path(destination)
    results, dead_letter = _table(folder / "results"), _table(folder / "dead_letter")
    findings = Findings(rows=expected.num_rows, results=results.num_rows, dead_letter=dead_letter.num_rows)
    found = pa.chunked_array([*results["key"].chunks, *dead_letter["key"].chunks], pa.string())
    known = pc.is_in(found, value_set=expected["id"].combine_chunks())
    findings.unknown_keys = len(found) - (pc.sum(known).as_py() or 0)
    distinct = len(pc.unique(found.filter(known)))
    findings.lost = expected.num_rows - distinct
    findings.duplicated = len(found) - findings.unknown_keys - distinct
    findings.mismatched = _mismatched(expected, results, "text") + _mismatched(expected, dead_letter, "request")
    findings.wrong_summaries = int(not _is_correct(folder / "summary.json", findings))
    _count_jobs(findings, display_names)
    return findings


def _count_jobs(findings: Findings, display_names: list[str]) -> None:
    created = Counter(name for name in display_names if name.startswith("gb-"))
    findings.jobs = sum(created.values())
    findings.most_jobs = max(created.values(), default=0)
    findings.duplicate_jobs = sum(count - 1 for count in created.values())


def _table(folder: Path) -> pa.Table:
    columns = ["key", *CARRIED, "text" if folder.name == "results" else "request"]
    parts = [pq.ParquetFile(part).read(columns=columns) for part in sorted(folder.glob("[!._]*.parquet"))]
    return pa.concat_tables(parts) if parts else pa.table({name: pa.array([], pa.string()) for name in columns})


def _carried(expected: pa.Table, rows: pa.Array, table: pa.Table) -> pa.Array:
    """Whether all carried columns of each row are those of the source; compared as Python values."""
    same = [True] * table.num_rows
    for name in CARRIED:
        was, now = (column.to_pylist() for column in (pc.take(expected[name].combine_chunks(), rows), table[name]))
        if pa.types.is_time(expected[name].type):  # a table holds times of day as text
            was = [None if time is None else time.isoformat() for time in was]
        same = [one and old == new for one, old, new in zip(same, was, now, strict=True)]
    return pa.array(same, pa.bool_())


def _mismatched(expected: pa.Table, table: pa.Table, column: str) -> int:
    """The number of rows whose carried columns, or whose ``column``, do not belong to their key."""
    rows = pc.fill_null(pc.index_in(table["key"], value_set=expected["id"].combine_chunks()), 0).combine_chunks()
    body = pc.take(expected["body"].combine_chunks(), rows)
    carried = _carried(expected, rows, table)
    # The row's text may be surrounded by the JSON of the request, or by what another implementation of the service adds.
    matches = pa.array([text in (value or "") for text, value in zip(body.to_pylist(), table[column].to_pylist(), strict=True)])
    matches = pc.fill_null(pc.and_(carried, matches.cast(pa.bool_())), False)
    return len(matches) - (pc.sum(matches).as_py() or 0)


def _is_correct(summary: Path, findings: Findings) -> bool:
    try:
        content: dict[str, Any] = json.loads(summary.read_bytes())
    except (OSError, ValueError):
        return False
    counts = (content.get("rows"), content.get("results"), content.get("dead_letter"), content.get("balanced"))
    return counts == (findings.rows, findings.results, findings.dead_letter, True)
