"""Which columns a request adds, and that the readers make columns of exactly these names and types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.response.extras import extra_columns
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.shapes.extra_fields import extra_fields

EVERYTHING = ["media", "grounding", "citations", "function_calls", "code_execution", "url_context", "thoughts"]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
WITH_SCHEMA = {"generation_config": {"response_mime_type": "application/json"}}

REQUESTS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"request": {"generation_config": {"response_modalities": ["TEXT"]}}}, []),
    ({"request": {"generation_config": {"response_modalities": ["AUDIO"]}}}, ["media"]),
    ({"request": {"tools": [{"google_search": {}}]}}, ["grounding", "citations"]),
    ({"request": {"tools": [{"function_declarations": []}]}}, ["function_calls"]),
    ({"request": {"tools": [{"google_search": {}, "function_declarations": []}]}}, ["grounding", "citations", "function_calls"]),
    ({"request": {"tools": [{"code_execution": {}}]}}, ["media", "grounding", "citations", "code_execution"]),
    ({"request": {"tools": [{"url_context": {}}]}}, ["grounding", "citations", "url_context"]),
    ({"request": {"tools": [{"computer_use": {}}]}}, ["function_calls"]),
    ({"request": {"generation_config": {"thinking_config": {"thinking_budget": 0}}}}, []),
    ({"request": {"generation_config": {"thinking_config": {"include_thoughts": True}}}}, ["thoughts"]),
    ({"request": WITH_SCHEMA, "response_schema": SCHEMA}, ["parsed"]),
    ({"request": WITH_SCHEMA, "response_schema": SCHEMA, "config_column": "c"}, ["parsed", *EVERYTHING]),
    ({"config_column": "c", "request": {}}, EVERYTHING),
    ({"column": "request"}, EVERYTHING),
    ({"callable": "rows.question"}, EVERYTHING),
    ({"column": "body", "format": "openai"}, ["function_calls", "thoughts"]),
    ({"column": "body", "format": "openai-embeddings", "embed_request": {"output_dimensionality": 3}}, ["embedding"]),
    ({"embed_request": {"output_dimensionality": 3}}, ["embedding"]),
]


@pytest.mark.parametrize(("request_", "names"), REQUESTS)
def test_the_columns_follow_from_the_request(request_: dict[str, Any], names: list[str]) -> None:
    assert [field.name for field in extra_fields(request_)] == names


@pytest.mark.parametrize("as_files", [False, True])
@pytest.mark.parametrize("request_", [request for request, _ in REQUESTS])
def test_the_readers_make_columns_of_these_types(request_: dict[str, Any], as_files: bool, tmp_path: Path) -> None:
    readers = extra_columns(request_, media_folder=locate(str(tmp_path)) if as_files else None)

    assert pa.schema(readers.fields) == pa.schema(extra_fields(request_, media_as_files=as_files))
