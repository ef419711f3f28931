"""A response schema goes in, typed columns come out; answers that do not follow it are dead letters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, Field

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


class Note(BaseModel):
    title: str
    kind: Literal["good", "bad"]
    score: float = Field(ge=0, le=1)
    count: int | None
    on: dt.date
    at: dt.datetime
    tags: list[str]
    weights: dict[str, float]


TYPES = pa.struct(
    [
        ("title", pa.string()),
        ("kind", pa.string()),
        ("score", pa.float64()),
        ("count", pa.int64()),
        ("on", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("tags", pa.list_(pa.string())),
        ("weights", pa.map_(pa.string(), pa.float64())),
    ]
)


def parsed_type(tmp_path: Path) -> pa.DataType:
    types = {pq.read_schema(part).field("parsed").type for part in (tmp_path / "run/results").glob("*.parquet")}
    assert len(types) == 1
    return types.pop()


def test_a_model_makes_typed_columns(go: Go, tmp_path: Path) -> None:
    summary = go(request=GenerateRequest(prompt="Note: ${body}", response_schema=Note))

    assert (summary.results, summary.balanced) == (12, True)
    assert parsed_type(tmp_path) == TYPES
    for row in read(tmp_path, "results"):
        assert Note.model_validate_json(row["text"]).model_dump(exclude={"at"}) == {
            **{name: value for name, value in row["parsed"].items() if name != "at"},
            "weights": dict(row["parsed"]["weights"]),
        }


def test_a_list_of_models_makes_a_list(go: Go, tmp_path: Path) -> None:
    go(request=GenerateRequest(prompt="Notes: ${body}", response_schema=list[Note]))

    assert parsed_type(tmp_path) == pa.list_(TYPES)
    assert len(read(tmp_path, "results")) == 12


def test_a_plain_json_schema_and_an_enum_without_json(go: Go, tmp_path: Path) -> None:
    schema = {"type": "string", "enum": ["red", "blue"]}

    go(request=GenerateRequest(prompt="${body}", response_schema=schema, config={"response_mime_type": "text/x.enum"}))

    assert {row["parsed"] for row in read(tmp_path, "results")} <= {"red", "blue"}


def test_answers_that_do_not_follow_the_schema_are_dead_letters(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="lone_surrogate", keys=("k3", "k8")))

    summary = go(request=GenerateRequest(prompt="Note: ${body}", response_schema=Note))

    assert (summary.results, summary.reasons, summary.balanced) == (10, {"INVALID_OUTPUT": 2}, True)
    assert all("the answer is not JSON" in row["message"] for row in read(tmp_path, "dead_letter"))


def test_another_schema_is_another_question(go: Go) -> None:
    go(request=GenerateRequest(prompt="${body}", response_schema={"type": "string"}))

    with pytest.raises(DestinationError, match="request"):
        go(request=GenerateRequest(prompt="${body}", response_schema={"type": "array", "items": {"type": "string"}}))
