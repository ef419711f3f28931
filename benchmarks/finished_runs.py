"""Finished runs and their scores written without a service: for the benchmark of comparisons, and for tests of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.finish.summary import JobSummary, Summary
from airflow_gemini_batch.engine.run.layout import Manifest, SourceInfo
from airflow_gemini_batch.evals.scores import SCORES_SCHEMA, ScorerTotals, Scores

_FINISHED_AT = "2026-11-28T06:00:00+00:00"


def write_run(
    destination: Path,
    results: Sequence[pa.Table],
    dead_letter: Sequence[pa.Table],
    scores: Sequence[pa.Table],
    scorers: Sequence[ScorerTotals],
    *,
    run_id: str,
    repeats: int = 1,
    carry: Sequence[str] = (),
    request: Mapping[str, Any] | None = None,
) -> None:
    """Each table is a part. Those of ``scores`` have the columns of ``SCORES_SCHEMA``."""
    for folder, parts in (("results", results), ("dead_letter", dead_letter), ("scores/default", scores)):
        (destination / folder).mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(parts):
            pq.write_table(part, destination / folder / f"part-{number:05}-0.parquet", compression="zstd", row_group_size=1 << 16)
    answered, lost = (sum(part.num_rows for part in parts) for parts in (results, dead_letter))
    summary = Summary(
        run_id=run_id,
        model="gemini-3.6-flash",
        source="made",
        destination=str(destination),
        rows=answered + lost,
        results=answered,
        dead_letter=lost,
        reasons={},
        aside={},
        tokens={},
        jobs=(JobSummary("batches/1", 0, 0, "SUCCEEDED", answered, "2026-11-28T05:00:00.123456789Z", "2026-11-28T05:10:00Z"),),
        balanced=True,
        started_at=_FINISHED_AT,
        finished_at=_FINISHED_AT,
        repeats=repeats,
    )
    (destination / "summary.json").write_bytes(msgspec.json.encode(summary))
    manifest = Manifest(
        run_id=run_id,
        model="gemini-3.6-flash",
        source=SourceInfo("made", "0" * 64),
        request=dict(request or {"prompt": "${question}"}),
        key="id",
        carry=tuple(carry),
        shards=(),
        created_at=_FINISHED_AT,
        repeats=repeats,
    )
    (destination / "_run").mkdir(exist_ok=True)
    (destination / "_run" / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    found = Scores(
        destination=str(destination),
        name="default",
        uri=str(destination / "scores" / "default"),
        run_id=run_id,
        finished_at=_FINISHED_AT,
        rows=answered + lost,
        scorers=tuple(scorers),
        parts=tuple(f"part-{number:05}-0.parquet" for number in range(len(scores))),
        fingerprint="of the scorers",
    )
    (destination / "scores" / "default" / "_scores.json").write_bytes(msgspec.json.encode(found))


def scores_of(rows: Mapping[str, Sequence[Any]]) -> pa.Table:
    """A part of scores from columns; those that are left out are null."""
    size = len(next(iter(rows.values())))
    columns = [rows[field.name] if field.name in rows else pa.nulls(size, field.type) for field in SCORES_SCHEMA]
    return pa.table([pa.array(one, field.type) for one, field in zip(columns, SCORES_SCHEMA, strict=True)], schema=SCORES_SCHEMA)
