"""Distributions of tokens are counted in the parts of the results, and times of jobs in the summary."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.finish.summary import JobSummary
from airflow_gemini_batch.engine.report import distributions
from airflow_gemini_batch.engine.report.distributions import job_seconds, token_counts
from airflow_gemini_batch.engine.run.storage import Location, locate


def write_parts(folder: Path, *parts: list[int | None]) -> list[Location]:
    for number, tokens in enumerate(parts):
        column = pa.array(tokens, pa.int64())
        pq.write_table(pa.table({"prompt_tokens": column, "output_tokens": column}), folder / f"{number}.parquet")
    return [locate(str(folder / f"{number}.parquet")) for number in range(len(parts))]


def test_tokens_of_all_parts_are_counted_and_nulls_are_not(tmp_path: Path) -> None:
    counts = token_counts([*write_parts(tmp_path, [5, None, 7], [], [900]), locate(str(tmp_path / "absent.parquet"))])

    assert (counts.prompt.count, counts.output.total) == (3, 912)
    assert (counts.output.low, counts.output.high) == (5, 900)
    assert (counts.parts, counts.of_parts) == (4, 4)


def test_of_very_many_parts_some_are_read_at_equal_distances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "MOST_PARTS", 3)

    counts = token_counts(write_parts(tmp_path, *([number] for number in range(9))))

    assert (counts.parts, counts.of_parts) == (3, 9)
    assert counts.output.total == 0 + 3 + 6


def test_the_time_of_a_job_is_from_its_creation_to_its_end() -> None:
    def job(begin: str, end: str) -> JobSummary:
        return JobSummary("batches/x", 0, 0, "SUCCEEDED", 1, create_time=begin, end_time=end)

    seconds = job_seconds(
        [job("2026-11-01T00:00:00Z", "2026-11-01T01:00:00.4Z"), job("2026-11-01T00:00:00Z", ""), job("?", "2026-11-01T01:00:00Z")]
    )

    assert (seconds.count, seconds.low) == (1, 3600)
