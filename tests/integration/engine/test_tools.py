"""What tools and thinking leave in the answers has columns of its own, in runs that ask for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
SEARCH = {"tools": [{"google_search": {}}]}
THINK = {"thinking_config": {"include_thoughts": True}}
CALL = {
    "tools": [
        {
            "function_declarations": [
                {
                    "name": "file_under",
                    "description": "Files a note.",
                    "parameters_json_schema": {
                        "type": "object",
                        "properties": {"Folder Name": {"type": "string"}},
                        "required": ["Folder Name"],
                    },
                }
            ]
        }
    ]
}
ALL = {"grounding", "citations", "function_calls", "code_execution", "url_context", "thoughts", "media"}


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        (None, set()),
        ({"response_modalities": ["TEXT"]}, set()),
        (SEARCH, {"grounding", "citations"}),
        ({"tools": [{"url_context": {}}]}, {"grounding", "citations", "url_context"}),
        ({"tools": [{"code_execution": {}}]}, {"grounding", "citations", "code_execution", "media"}),
        (THINK, {"thoughts"}),
        (CALL, {"function_calls"}),
    ],
)
def test_the_request_decides_which_columns_there_are(config: Any, columns: set[str], go: Go, tmp_path: Path) -> None:
    assert go(request=GenerateRequest(prompt="${body}", config=config)).results == 12

    assert set(read(tmp_path, "results")[0]) & ALL == columns


def test_grounding_is_the_metadata_as_received(go: Go, tmp_path: Path) -> None:
    go(request=GenerateRequest(prompt="About ${body}", config=SEARCH))

    for row in read(tmp_path, "results"):
        assert json.loads(row["grounding"]) == json.loads(row["response"])["candidates"][0]["groundingMetadata"]
        assert row["citations"] is None


def test_function_calls_are_a_json_list(go: Go, tmp_path: Path) -> None:
    go(request=GenerateRequest(prompt="File ${body}", config=CALL))

    for row in read(tmp_path, "results"):
        [call] = json.loads(row["function_calls"])
        assert (call["name"], set(call["args"]), row["text"]) == ("file_under", {"Folder Name"}, None)


def test_thoughts_stand_apart_from_the_text(go: Go, tmp_path: Path) -> None:
    go(request=GenerateRequest(prompt="Repeat: ${body}", config=THINK))

    for row in read(tmp_path, "results"):
        assert row["thoughts"].startswith("The request comes with")
        assert row["thoughts"] not in row["text"]
        assert row["thoughts_tokens"] > 0


def test_each_row_may_have_a_config_of_its_own(go: Go, tmp_path: Path) -> None:
    configs = [THINK, SEARCH, {"temprature": 1}, None]
    source = pa.table(
        {"id": list("abcd"), "body": list("wxyz"), "cfg": [None if config is None else json.dumps(config) for config in configs]}
    )

    summary = go(source=source, request=GenerateRequest(prompt="${body}", config_column="cfg"))

    assert (summary.results, summary.reasons, summary.balanced) == (3, {"INVALID_INPUT": 1}, True)
    rows = {row["key"]: row for row in read(tmp_path, "results")}
    assert set(rows["a"]) >= ALL
    assert {key: (row["thoughts"] is None, row["grounding"] is None) for key, row in rows.items()} == {
        "a": (False, True),
        "b": (True, False),
        "d": (True, True),
    }
    assert "'temprature' is not a field" in read(tmp_path, "dead_letter")[0]["message"]


def test_code_and_its_results_have_a_column(go: Go, tmp_path: Path) -> None:
    request = GenerateRequest(prompt="Repeat: ${body}", config={"tools": [{"code_execution": {}}]})

    assert go(request=request).results == 12

    for row in read(tmp_path, "results"):
        code, result = json.loads(row["code_execution"])
        assert code["executableCode"]["language"] == "PYTHON"
        assert result["codeExecutionResult"]["outcome"] == "OUTCOME_OK"
        assert row["text"].endswith(json.loads(row["response"])["candidates"][0]["content"]["parts"][-1]["text"])
        assert row["tool_tokens"] > 0
        assert row["total_tokens"] == row["prompt_tokens"] + row["output_tokens"] + row["tool_tokens"]


def test_structured_answers_after_code_are_parsed(go: Go, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    request = GenerateRequest(prompt="Repeat: ${body}", config={"tools": [{"code_execution": {}}]}, response_schema=schema)

    assert go(request=request).results == 12

    for row in read(tmp_path, "results"):
        assert row["parsed"]["title"]
        assert len(json.loads(row["code_execution"])) == 2


def test_pages_have_a_column(go: Go, tmp_path: Path) -> None:
    page = "https://example.com/page"
    request = GenerateRequest(prompt=f"Read {page} and repeat: ${{body}}", config={"tools": [{"url_context": {}}]})

    assert go(request=request).results == 12

    for row in read(tmp_path, "results"):
        retrieved = {"retrievedUrl": page, "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}
        assert json.loads(row["url_context"]) == {"urlMetadata": [retrieved]}
        assert row["tool_tokens"] == 258
