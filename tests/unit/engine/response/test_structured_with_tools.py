"""Structured answers that use tools on the way: text, code and its result, then JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gemini_batch.engine.response.responses import Answer, classify
from airflow_gemini_batch.engine.response.structured import ParsedColumn
from tests.unit.engine.response.test_structured import GOOD, ORDER, PARSED

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


def test_a_bare_word_may_follow_tools_too() -> None:
    schema = {"type": "string", "enum": ["good", "bad"]}

    array, problems = ParsedColumn(schema, is_json=False).read([in_parts({"text": "I count. "}, CODE, {"text": "good\n"})])

    assert (array.to_pylist(), problems) == (["good"], {})
