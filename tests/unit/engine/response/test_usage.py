"""The usage of answers, in every spelling, from both readers and for dead letters too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gemini_batch.engine.costs.usage import NOTHING, Usage
from airflow_gemini_batch.engine.response.responses import Answer, Refusal, _read, classify
from airflow_gemini_batch.engine.response.usage import queries_in

SNAKE = {"prompt_token_count": 10, "candidates_token_count": 5, "total_token_count": 15}
COUNTS = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}


def details(**tokens: int) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count} for modality, count in tokens.items()]


def line(usage: dict[str, Any] | None, finish: str = "STOP", **more: Any) -> bytes:
    candidate = {"content": {"parts": [{"text": "yes"}]}, "finishReason": finish}
    response = {"candidates": [candidate], **({} if usage is None else {"usageMetadata": usage}), "modelVersion": "m"}
    return json.dumps({"key": "a", "response": response, **more}).encode()


def usage_of(usage: dict[str, Any]) -> Usage | None:
    read = classify(line(usage))
    assert isinstance(read, Answer)
    assert _read(line(usage)) == read, "both readers give the same"
    return read.usage()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, Usage(10, 0, 5)),
        ({"promptTokensDetails": details(TEXT=10)}, Usage(10, 0, 5)),
        ({"thoughtsTokenCount": 3, "toolUsePromptTokenCount": 7, "totalTokenCount": 25}, Usage(17, 0, 8)),
        ({"cachedContentTokenCount": 4}, Usage(10, 4, 5)),
        ({"cachedContentTokenCount": 4, "cacheTokensDetails": details(TEXT=4)}, Usage(10, 4, 5)),
        ({"promptTokensDetails": details(TEXT=4, AUDIO=6)}, Usage(10, 0, 5, {"input_audio": 6})),
        ({"promptTokensDetails": details(IMAGE=2, DOCUMENT=3, VIDEO=4)}, Usage(10, 0, 5, {"input_image": 5, "input_video": 4})),
        (
            {"promptTokensDetails": details(AUDIO=2), "toolUsePromptTokensDetails": details(AUDIO=3)},
            Usage(10, 0, 5, {"input_audio": 5}),
        ),
        ({"candidatesTokensDetails": details(TEXT=1, IMAGE=4)}, Usage(10, 0, 5, {"output_image": 4})),
        (
            {"promptTokensDetails": details(AUDIO=6), "cachedContentTokenCount": 4, "cacheTokensDetails": details(TEXT=4)},
            Usage(10, 4, 5, {"input_audio": 6, "cached_audio": 0, "cached_image": 0, "cached_video": 0}),
        ),
        ({"promptTokensDetails": details(SMELL=6)}, Usage(10, 0, 5)),
        ({"promptTokensDetails": None, "candidatesTokensDetails": []}, Usage(10, 0, 5)),
        ({"promptTokensDetails": [{"modality": "AUDIO"}, {}]}, Usage(10, 0, 5)),
    ],
)  # fmt: skip
def test_tokens_by_kind(more: dict[str, Any], expected: Usage) -> None:
    assert usage_of({**COUNTS, **more}) == expected


@pytest.mark.parametrize(
    "usage",
    [
        {**SNAKE, "prompt_tokens_details": [{"modality": "AUDIO", "token_count": 6}]},
        {**COUNTS, "promptTokenCount": "10", "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": "6"}]},
    ],
)  # fmt: skip
def test_other_spellings(usage: dict[str, Any]) -> None:
    assert usage_of(usage) == Usage(10, 0, 5, {"input_audio": 6})


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"candidatesTokenCount": 5},
        {"promptTokenCount": "many", "candidatesTokenCount": 5, "totalTokenCount": 9},
        {"promptTokenCount": 10, "totalTokenCount": 15},
    ],
)
def test_usage_that_says_too_little_is_not_known(usage: dict[str, Any]) -> None:
    assert usage_of(usage) is None


def test_a_count_of_zero_is_left_out_on_the_wire() -> None:
    assert usage_of({"promptTokenCount": 10, "totalTokenCount": 10}) == Usage(10)


def refusal(read: Any) -> Refusal:
    assert isinstance(read, Refusal)
    return read


@pytest.mark.parametrize("finish", ["MAX_TOKENS", "SAFETY", "MALFORMED_FUNCTION_CALL"])
def test_an_answer_that_is_not_a_result_has_its_usage_and_its_model(finish: str) -> None:
    read = refusal(classify(line(COUNTS, finish)))

    assert (read.usage, read.model_version) == (Usage(10, 0, 5), "m")


def test_an_answer_without_usage_has_none() -> None:
    assert refusal(classify(line(None, "MAX_TOKENS"))).usage is None


def test_an_error_in_place_of_an_answer_cost_nothing() -> None:
    assert refusal(classify(b'{"key":"a","error":{"code":13}}')).usage is NOTHING


def test_an_error_beside_an_answer_cost_what_the_answer_says() -> None:
    assert refusal(classify(line(COUNTS, error={"code": 13}))).usage == Usage(10, 0, 5)


@pytest.mark.parametrize(
    ("metadata", "count"),
    [
        ({"groundingMetadata": {"webSearchQueries": ["a", "b"]}}, 2),
        ({"grounding_metadata": {"web_search_queries": ["a", "a", "", None]}}, 1),
        ({"groundingMetadata": {"webSearchQueries": "a"}}, 0),
        ({"groundingMetadata": {}}, 0),
    ],
)
def test_distinct_queries_are_counted(metadata: dict[str, Any], count: int) -> None:
    response = {"candidates": [{"content": {}, **metadata}]}

    assert queries_in(json.dumps(response).encode()) == count
    assert queries_in(json.dumps({"key": "a", "response": response}).encode()) == count


def test_a_text_about_queries_is_not_one() -> None:
    assert queries_in(b'{"candidates":[{"content":{"parts":[{"text":"webSearchQueries"}]}}]}') == 0
    assert queries_in(b'"webSearchQueries') == 0
