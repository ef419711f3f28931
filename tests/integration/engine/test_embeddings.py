"""A text goes in, a vector comes out, by file and inline."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import EmbedRequest
from tests.integration.engine.conftest import creates, read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
MODEL = "gemini-embedding-001"
REQUEST = EmbedRequest(text="${id}: ${body}", config={"task_type": "RETRIEVAL_DOCUMENT", "output_dimensionality": 16})


def dimensions(tmp_path: Path) -> set[int]:
    types = [pq.read_schema(part).field("embedding").type for part in (tmp_path / "run/results").glob("*.parquet")]
    assert {type.value_type for type in types} == {pa.float32()}
    return {type.list_size for type in types}


@pytest.mark.parametrize("transport", ["file", "inline"])
def test_every_row_gets_its_vector(transport: str, go: Go, tmp_path: Path, emulator: Emulator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the SDK's own about experiments among them
        summary = go(request=REQUEST, model=MODEL, transport=transport)

    assert (summary.results, summary.balanced, len(creates(emulator))) == (12, True, 3)
    assert dimensions(tmp_path) == {16}
    rows = read(tmp_path, "results")
    assert len({tuple(row["embedding"]) for row in rows}) == 12
    for row in rows:
        expected = json.loads(row["response"])["embedding"]["values"]
        assert row["embedding"] == pytest.approx(expected)
        assert (row["text"], row["finish_reason"]) == (None, None)
        assert row["prompt_tokens"] == row["total_tokens"] > 0


def test_without_a_dimension_the_default_is_asked_for_by_name(go: Go, tmp_path: Path) -> None:
    go(request=EmbedRequest(text="${body}"), model=MODEL)

    assert dimensions(tmp_path) == {3072}
    line = json.loads((tmp_path / "run/_run/requests/shard-00000-0.jsonl").read_text().splitlines()[0])
    assert line == {
        "key": "k0",
        "request": {"content": {"parts": [{"text": "number 0"}], "role": "user"}, "output_dimensionality": 3072},
    }


def test_a_title_may_differ_from_row_to_row(go: Go, tmp_path: Path) -> None:
    config: dict[str, Any] = {"task_type": "RETRIEVAL_DOCUMENT", "title": "No. ${id}", "output_dimensionality": 8}

    go(request=EmbedRequest(text="${body}", config=config), model=MODEL)

    lines = (tmp_path / "run/_run/requests/shard-00000-0.jsonl").read_text().splitlines()
    assert [json.loads(line)["request"]["title"] for line in lines] == [f"No. k{number}" for number in range(5)]


def test_rows_that_fail_do_not_cost_the_others(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k3",), code=3))

    summary = go(request=REQUEST, model=MODEL)

    assert (summary.results, summary.reasons, summary.balanced) == (11, {"REQUEST_ERROR": 1}, True)
