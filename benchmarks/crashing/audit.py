"""What came of a run: jobs as the service tells it, rows as a reader of the tables sees them. The engine is not asked."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


@dataclass
class Findings:
    """The books of one run, or of several together.

    :param created: jobs by shard and attempt, as the service counts them.
    :param misjoined: rows in whose row stands something of another row.
    :param unbalanced: summaries that do not say what the tables hold.
    """

    rows: int = 0
    results: int = 0
    dead_letter: int = 0
    lost: int = 0
    doubled: int = 0
    misjoined: int = 0
    foreign: int = 0
    jobs: int = 0
    most_jobs: int = 0
    duplicates: int = 0
    unbalanced: int = 0

    def add(self, other: Findings) -> None:
        for name, value in asdict(other).items():
            setattr(self, name, max(self.most_jobs, value) if name == "most_jobs" else getattr(self, name) + value)

    @property
    def wrong(self) -> int:
        return self.lost + self.doubled + self.misjoined + self.foreign + self.duplicates + self.unbalanced


@dataclass(frozen=True)
class Jobs:
    """Display names under which jobs were created, as often as they were."""

    display_names: list[str] = field(default_factory=list)

    def count(self, findings: Findings) -> None:
        created = Counter(name for name in self.display_names if name.startswith("gb-"))
        findings.jobs = sum(created.values())
        findings.most_jobs = max(created.values(), default=0)
        findings.duplicates = sum(count - 1 for count in created.values())


def audit(destination: str, source: str, display_names: list[str]) -> Findings:
    """Hold the tables against the source, key by key and word by word."""
    asked = pq.read_table(source)
    folder = Path(destination)
    results, letters = _table(folder / "results"), _table(folder / "dead_letter")
    findings = Findings(rows=asked.num_rows, results=results.num_rows, dead_letter=letters.num_rows)
    found = pa.chunked_array([*results["key"].chunks, *letters["key"].chunks], pa.string())
    known = pc.is_in(found, value_set=asked["id"].combine_chunks())
    findings.foreign = len(found) - (pc.sum(known).as_py() or 0)
    distinct = len(pc.unique(found.filter(known)))
    findings.lost = asked.num_rows - distinct
    findings.doubled = len(found) - findings.foreign - distinct
    findings.misjoined = _misjoined(asked, results, "text") + _misjoined(asked, letters, "request")
    findings.unbalanced = int(not _tells_the_truth(folder / "summary.json", findings))
    Jobs(display_names).count(findings)
    return findings


def _table(folder: Path) -> pa.Table:
    columns = ["key", "body", "text" if folder.name == "results" else "request"]
    parts = [pq.ParquetFile(part).read(columns=columns) for part in sorted(folder.glob("[!._]*.parquet"))]
    return pa.concat_tables(parts) if parts else pa.table({name: pa.array([], pa.string()) for name in columns})


def _misjoined(asked: pa.Table, table: pa.Table, column: str) -> int:
    """Rows whose carried words, or whose ``column``, are not those of their key."""
    at = pc.index_in(table["key"], value_set=asked["id"].combine_chunks())
    body = pc.take(asked["body"].combine_chunks(), pc.fill_null(at, 0).combine_chunks())
    carried = pc.equal(table["body"].combine_chunks(), body)
    # Around the row's words may stand what another implementation says besides, or the JSON of the request.
    own = pa.array([words in (said or "") for words, said in zip(body.to_pylist(), table[column].to_pylist(), strict=True)])
    own = pc.fill_null(pc.and_(carried, own.cast(pa.bool_())), False)
    return len(own) - (pc.sum(own).as_py() or 0)


def _tells_the_truth(summary: Path, findings: Findings) -> bool:
    try:
        told: dict[str, Any] = json.loads(summary.read_bytes())
    except (OSError, ValueError):
        return False
    counts = (told.get("rows"), told.get("results"), told.get("dead_letter"), told.get("balanced"))
    return counts == (findings.rows, findings.results, findings.dead_letter, True)
