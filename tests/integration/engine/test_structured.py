"""A response schema goes in, typed columns come out; answers that do not follow it are dead letters."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, Field

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.errors import DestinationError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import GenerateRequest, RawRequest
from tests.integration.engine.conftest import creates, read

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


class Memo(BaseModel):
    title: str
    kind: Literal["good", "bad"]
    count: int | None
    on: dt.date
    tags: list[str]


MEMO = pa.struct(
    [("title", pa.string()), ("kind", pa.string()), ("count", pa.int64()), ("on", pa.date32()), ("tags", pa.list_(pa.string()))]
)

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


@pytest.mark.parametrize("field", ["response_json_schema", "response_schema"])
def test_either_field_keeps_validation_and_the_column(field: str, go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="lone_surrogate", keys=("k3",)))

    summary = go(request=GenerateRequest(prompt="Note: ${body}", response_schema=Memo.model_json_schema()), schema_field=field)

    assert (summary.results, summary.reasons) == (11, {"INVALID_OUTPUT": 1})
    for row in read(tmp_path, "results"):
        Memo.model_validate(row["parsed"])
    lines = (tmp_path / "run/_run/requests/shard-00000-0.jsonl").read_text().splitlines()
    assert all(field in json.loads(line)["request"]["generation_config"] for line in lines)


def test_another_schema_field_is_another_question(go: Go) -> None:
    request = GenerateRequest(prompt="${body}", response_schema=json.dumps(Memo.model_json_schema()))
    go(request=request)

    with pytest.raises(DestinationError, match="request"):
        go(request=request, schema_field="response_schema")


def test_a_schema_that_google_cannot_express_is_refused_before_a_create(go: Go, emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'additionalProperties' with a schema"):
        go(request=GenerateRequest(prompt="${body}", response_schema=Note), schema_field="response_schema")

    assert creates(emulator) == []
    assert not [file for file in (tmp_path / "run").rglob("*") if file.is_file()]


def test_structured_rows_that_are_sent_raw_keep_their_column(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="lone_surrogate", keys=("k3", "k8")))
    go(request=GenerateRequest(prompt="Note: ${body}", response_schema=Memo))
    emulator.faults.clear()

    raw = RawRequest("request", response_schema=Memo)
    again = {"source": str(tmp_path / "run/dead_letter"), "key": "key", "carry": [], "destination": str(tmp_path / "again/run")}
    summary = go(request=raw, **again)

    assert (summary.results, summary.balanced) == (2, True)
    assert pq.read_schema(next((tmp_path / "again/run/results").glob("*.parquet"))).field("parsed").type == MEMO
    for row in read(tmp_path / "again", "results"):
        Memo.model_validate(row["parsed"])


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
