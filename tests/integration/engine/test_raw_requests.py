"""A batch file in the service's own form makes the whole trip as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import GenerateRequest, RawRequest
from tests.integration.engine.conftest import read

Go = Callable[..., Summary]


def asking(text: str, **more: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": f"Repeat: {text}"}]}], **more}


def sent(tmp_path: Path) -> list[Any]:
    text = (tmp_path / "run/_run/requests/shard-00000-0.jsonl").read_text()
    return [json.loads(line)["request"] for line in text.splitlines()]


def test_objects_in_json_lines_are_sent_as_they_stand(go: Go, tmp_path: Path) -> None:
    picture = {"inline_data": {"mime_type": "image/png", "data": "iVBORw0K"}}
    requests = [
        asking("one", generation_config={"temperature": 0.5}),
        asking("two", systemInstruction={"parts": [{"text": "Be brief."}]}),
        {"contents": [{"parts": [{"text": "Repeat: three"}, picture], "role": "user"}]},
    ]
    lines = [{"key": f"request-{number}", "request": request, "pages": number} for number, request in enumerate(requests)]
    (tmp_path / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    summary = go(source=str(tmp_path / "batch.jsonl"), request=RawRequest("request"), key="key", carry=["pages"])

    assert summary.balanced
    assert sent(tmp_path) == requests
    assert [(row["key"], row["pages"], row["text"]) for row in read(tmp_path, "results")] == [
        ("request-0", 0, "one"), ("request-1", 1, "two"), ("request-2", 2, "three"),
    ]  # fmt: skip


def test_a_line_without_a_request_costs_its_own_row(go: Go, tmp_path: Path) -> None:
    lines = [{"key": 1, "request": asking("one")}, {"key": 2}, {"key": 3, "request": [1]}, {"key": 4, "request": "three"}]
    (tmp_path / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    go(source=str(tmp_path / "batch.jsonl"), request=RawRequest("request"), key="key", carry=[])

    assert [row["key"] for row in read(tmp_path, "results")] == ["1"]
    assert [(row["key"], row["reason"], row["message"]) for row in read(tmp_path, "dead_letter")] == [
        ("2", "INVALID_INPUT", "column 'request' is null"),
        ("3", "INVALID_INPUT", "column 'request' holds JSON that is not an object: [1]"),
        ("4", "INVALID_INPUT", "column 'request' is not valid JSON: Expecting value: line 1 column 1 (char 0)"),
    ]


def test_numbers_carried_from_a_batch_file_stay_numbers(go: Go, tmp_path: Path) -> None:
    lines = [{"custom_id": "a", "pages": 3, "score": 0.5, "body": {"messages": [{"role": "user", "content": "Repeat: one"}]}}]
    (tmp_path / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    go(
        source=str(tmp_path / "batch.jsonl"),
        request=RawRequest("body", format="openai"),
        key="custom_id",
        carry=["pages", "score"],
    )

    schema = pq.read_schema(tmp_path / "run/results/part-00000-0.parquet")
    assert {name: str(schema.field(name).type) for name in ("pages", "score")} == {"pages": "int64", "score": "double"}


def test_what_raw_requests_ask_for_has_its_column(go: Go, tmp_path: Path) -> None:
    drawing = {"contents": [{"parts": [{"text": "a pen"}]}], "generation_config": {"response_modalities": ["IMAGE"]}}
    calling = asking("one", tools=[{"function_declarations": [{"name": "find"}]}])
    rows = [{"id": "draw", "request": drawing}, {"id": "call", "request": calling}, {"id": "say", "request": asking("one")}]

    go(
        source=pa.table({"id": [row["id"] for row in rows]}),
        request=lambda row: by_id(rows, row["id"]),
        carry=[],
        keep_response=False,
    )

    called, drawn, said = read(tmp_path, "results")
    assert json.loads(called["function_calls"]) == [{"name": "find", "args": {}}]
    assert drawn["media"][0]["data"].startswith(b"\x89PNG")
    assert (said["text"], said["media"], said["function_calls"]) == ("one", None, None)


def by_id(rows: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    return next(row["request"] for row in rows if row["id"] == wanted)


def test_a_name_that_only_other_requests_take_may_be_carried(go: Go, tmp_path: Path) -> None:
    source = pa.table({"id": ["a"], "media": ["https://shop.example/a.png"], "body": ["one"]})

    go(source=source, request=GenerateRequest(prompt="Repeat: ${body}", media=["media"]), carry=["media"])

    assert [row["media"] for row in read(tmp_path, "results")] == ["https://shop.example/a.png"]
    with pytest.raises(InputError, match="carry names 'media', which results or dead_letter have as a column of their own"):
        go(source=source, request=lambda row: asking(row["body"]), carry=["media"], destination=str(tmp_path / "other"))


def test_requests_for_embeddings_make_vectors_of_one_length(go: Go, tmp_path: Path) -> None:
    content = {"content": {"parts": [{"text": "one"}]}}
    asked = [{"output_dimensionality": 3, **content}, content, {"outputDimensionality": 4, **content}]
    lines = [json.dumps({"key": f"request-{number}", "request": request}) for number, request in enumerate(asked)]
    (tmp_path / "batch.jsonl").write_text("\n".join(lines))

    request = RawRequest("request", format="gemini-embeddings", dimensions=3)
    go(source=str(tmp_path / "batch.jsonl"), request=request, key="key", carry=[], model="gemini-embedding-001")

    assert [len(row["embedding"]) for row in read(tmp_path, "results")] == [3, 3]
    [refused] = read(tmp_path, "dead_letter")
    assert refused["message"] == "the request asks for 4 dimensions, and the run has 3: set RawRequest(dimensions=…)"
    assert {row["output_dimensionality"] for row in sent(tmp_path)} == {3}
