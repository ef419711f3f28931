"""Structured answers that use tools on the way: text, code and its result, then JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.response.responses import Answer, classify
from airflow_gemini_batch.engine.response.structured import ParsedColumn
from airflow_gemini_batch.engine.run.layout import ShardAttempt
from tests.unit.engine.response.test_structured import GOOD, ORDER, PARSED
from tests.unit.engine.shard_files import answer, receive, rows_of, run_at, write_shard

CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
RESULT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}


def in_parts(*parts: Any) -> Answer:
    """An answer as it comes: the text is that of its parts."""
    found = classify(json.dumps({"key": "k", "response": {"candidates": [{"content": {"parts": parts}}]}}).encode())
    assert isinstance(found, Answer)
    return found


@pytest.mark.parametrize(
    "between",
    [
        [CODE],
        [CODE, RESULT],
        [CODE, RESULT, {"text": "Once more. "}, CODE, RESULT],
        [{"executable_code": {"code": "1"}}, {"code_execution_result": {}}],
        [{"text": "hm", "thought": True}, CODE, {"text": "yes", "thought": True}],
        [{"functionCall": {"name": "f"}}],
        [{"inlineData": {"mimeType": "image/png", "data": "AQID"}}],
        [{"toolCall": {"toolType": "GOOGLE_SEARCH_WEB"}}, {"toolResponse": {}}],
        [{"kindNotKnownYet": {}}],
    ],
)
@pytest.mark.parametrize(
    "end", [[{"text": GOOD}], [{"text": f"```json\n{GOOD[:9]}"}, {"text": f"{GOOD[9:]}\n```"}], [{"text": GOOD}, CODE]]
)
@pytest.mark.parametrize("before", ["Let me compute.", "{", '{"id": 2}'])
def test_the_text_after_the_last_tool_part_is_judged(before: str, between: list[Any], end: list[Any]) -> None:
    array, problems = ParsedColumn(ORDER).read([in_parts({"text": before}, *between, *end)])

    assert (array.to_pylist(), problems) == ([PARSED], {})


def test_json_that_a_tool_part_interrupts_is_whole() -> None:
    array, problems = ParsedColumn(ORDER).read([in_parts({"text": GOOD[:9]}, CODE, {"text": GOOD[9:]})])

    assert (array.to_pylist(), problems) == ([PARSED], {})


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([{"text": "a"}, CODE, RESULT, {"text": "no JSON"}], "the answer is not JSON"),
        ([{"text": "a"}, CODE, RESULT, {"text": '{"id": -1}'}], "not valid for the response schema: $.id"),
        ([{"text": GOOD[:9]}, CODE, RESULT], "the answer is not JSON"),
        ([{"text": "a"}, {"text": GOOD}], "the answer is not JSON"),
        ([CODE, RESULT], "the answer holds no text"),
    ],
)
def test_an_answer_with_tools_and_without_good_json_is_refused(parts: list[Any], complaint: str) -> None:
    array, problems = ParsedColumn(ORDER).read([in_parts(*parts), in_parts({"text": GOOD})])

    assert array.to_pylist() == [None, PARSED]
    assert complaint in problems[0]


def test_code_and_pages_are_in_the_results_without_the_raw_response(tmp_path: Path) -> None:
    tools = {
        "tools": [{"code_execution": {}}, {"url_context": {}}],
        "generation_config": {"response_mime_type": "application/json"},
    }
    run = run_at(tmp_path, {"request": tools, "response_schema": ORDER})
    shard = write_shard(run, ["a", "b", "17"])
    pages = {"urlMetadata": [{"retrievedUrl": "https://example.com", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}]}
    parts = [{"text": "I compute."}, CODE, RESULT, {"text": GOOD}]
    candidate = {"content": {"parts": parts}, "finishReason": "STOP", "urlContextMetadata": pages}
    line = json.dumps({"key": 17, "response": {"candidates": [candidate]}}).encode()
    receive(run, shard, [line, answer("a", GOOD), answer("b", "no JSON")])

    land(run, shard, Ending("batches/x"), keep_response=False)

    rows = {row["key"]: row for row in rows_of(run.results_part(ShardAttempt(0)))}
    assert set(rows) == {"a", "17"}
    assert [rows[key]["parsed"] for key in rows] == [PARSED, PARSED]
    assert json.loads(rows["17"]["code_execution"]) == [CODE, RESULT]
    assert json.loads(rows["17"]["url_context"]) == pages
    assert (rows["a"]["code_execution"], rows["a"]["url_context"], "response" in rows["a"]) == (None, None, False)


def test_a_bare_word_may_follow_tools_too() -> None:
    schema = {"type": "string", "enum": ["good", "bad"]}

    array, problems = ParsedColumn(schema, is_json=False).read([in_parts({"text": "I count. "}, CODE, {"text": "good\n"})])

    assert (array.to_pylist(), problems) == (["good"], {})
