"""A sample of a table is a run of its own, and the same at every build."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.samples import read_sample, read_usages
from airflow_gemini_batch.engine.run.storage import locate
from tests.integration.engine.conftest import creates, read, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


def large(rows: int = 400) -> pa.Table:
    """A few rows are much larger than the others; every tenth cannot be a request."""
    bodies = [None if row % 10 == 9 else f"{row} " * (2000 if row % 50 == 0 else 1 + row % 3) for row in range(rows)]
    return pa.table({"id": [f"k{row}" for row in range(rows)], "body": bodies})


def test_the_run_holds_the_drawn_rows_only(go: Go, tmp_path: Path) -> None:
    summary = go(source=large(), sample=30)

    sample, usages = read_sample(Run(locate(str(tmp_path / "run")))), read_usages(Run(locate(str(tmp_path / "run"))))
    assert sample is not None
    assert usages is not None
    keys = {row["key"] for row in read(tmp_path, "results")}
    assert keys == {row.key for row in sample.drawn} == set(usages)
    assert summary.rows == summary.results == len(keys) < 31
    assert (sample.rows, sample.invalid, sample.population.requests) == (400, 40, 360)
    assert sum(row.times for row in sample.drawn) == 30
    assert sum(row.size for row in sample.drawn if row.times) / len(keys) > 2 * sample.population.bytes / 360
    for row in read(tmp_path, "results"):
        [usage] = usages[row["key"]].usages
        assert usage is not None
        assert (usage.input, usage.output) == (row["prompt_tokens"], row["output_tokens"] + (row["thoughts_tokens"] or 0))


def test_it_is_the_same_at_every_call_and_another_for_another_size(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    first = go(source=large(), sample=30)

    assert go(source=large(), sample=30) == first
    assert len(creates(emulator)) == len(first.jobs)
    again = go(source=large(), sample=30, destination=str(tmp_path / "again"))
    assert again.rows == first.rows
    with pytest.raises(DestinationError, match="sample is 30, this call has 31"):
        go(source=large(), sample=31)
    with pytest.raises(DestinationError, match="sample is 30, this call has None"):
        go(source=large())


def test_a_source_without_a_lasting_fingerprint_is_compared_by_its_sample(go: Go, emulator: Emulator) -> None:
    def request(row: dict[str, str]) -> dict[str, object]:
        return {"contents": [{"parts": [{"text": f"about {row['body']}"}]}]}

    first = go(source=table(40), request=request, sample=10)

    assert go(source=table(40), request=request, sample=10) == first
    assert len(creates(emulator)) == len(first.jobs)


def test_equal_requests_are_one_in_the_sample(go: Go, tmp_path: Path) -> None:
    rows = pa.table({"id": [f"k{row}" for row in range(60)], "body": [f"text {row % 6}" for row in range(60)]})

    summary = go(source=rows, sample=50)

    assert (summary.rows, summary.requests, summary.deduplicated) == (6, 6, 0)
    assert Counter(row["body"] for row in read(tmp_path, "results")) == {f"text {number}": 1 for number in range(6)}


def test_a_table_without_rows_has_an_empty_sample(go: Go) -> None:
    assert go(source=table(0), sample=50).rows == 0


def test_keys_that_are_not_unique_are_found_in_the_whole_table(go: Go) -> None:
    rows = pa.table({"id": [f"k{row % 399}" for row in range(400)], "body": [f"text {row}" for row in range(400)]})

    with pytest.raises(InputError, match="'k0'"):
        go(source=rows, sample=2)


def test_a_stream_is_refused_before_it_is_read(go: Go, emulator: Emulator) -> None:
    with pytest.raises(InputError, match="sample needs a source that can be read twice"):
        go(source=table(20).to_reader(), sample=5)

    assert creates(emulator) == []


@pytest.mark.parametrize("sample", [1, 0, -3, 2.5, True, "50"])
def test_a_size_that_is_none_is_refused(sample: object, go: Go) -> None:
    with pytest.raises(InputError, match="expected a whole number of rows from 2"):
        go(sample=sample)
