"""A row's error keeps its code, status and words in every shape, and is never taken for an empty answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gemini_batch.engine.reasons import STATUSES, Reason
from airflow_gemini_batch.engine.response.responses import Answer, Refusal, classify

#: Ways to say "RESOURCE_EXHAUSTED: quota exceeded", as a member named ``error`` or ``status``, or in the place of a response.
SHAPES: list[Any] = [
    {"code": 8, "message": "quota exceeded"},
    {"code": "8", "message": "quota exceeded"},
    {"code": 8.0, "message": "quota exceeded"},
    {"code": 429, "message": "quota exceeded"},
    {"code": " 429 ", "message": "quota exceeded"},
    {"code": "RESOURCE_EXHAUSTED", "message": "quota exceeded"},
    {"code": "ResourceExhausted", "message": "quota exceeded"},
    {"code": "StatusCode.RESOURCE_EXHAUSTED", "message": "quota exceeded"},
    {"code": "resource_exhausted", "message": "quota exceeded"},
    {"status": "RESOURCE_EXHAUSTED", "message": "quota exceeded"},
    {"status": "RESOURCE_EXHAUSTED", "code": "429", "message": "quota exceeded"},
    {"status": 429, "message": "quota exceeded"},
    {"status": "429", "message": "quota exceeded"},
    {"status": "429 Too Many Requests", "message": "quota exceeded"},
    {"status": {"code": 8, "message": "quota exceeded"}},
    {"status": "RESOURCE_EXHAUSTED: quota exceeded"},
    {"statusCode": 429, "errorMessage": "quota exceeded"},
    {"code": 8, "message": {"text": {"message": "quota exceeded"}, "message": "quota exceeded"}},
    {"code": 8, "details": [{"message": "quota exceeded"}]},
    {"error": {"code": 8, "message": "quota exceeded"}},
    {"error": {"error": {"error": {"code": 8, "message": "quota exceeded"}}}},
    {"error": "quota exceeded", "code": 8},
    {"error": "RESOURCE_EXHAUSTED", "message": "quota exceeded"},
    {"errors": [{"code": 8, "message": "quota exceeded"}]},
    {"message": "the request failed", "error": {"code": 8, "message": "quota exceeded"}},
    {"status": "FAILED", "error": {"code": 8, "message": "quota exceeded"}},
    [{"error": {"code": 8, "message": "quota exceeded"}}],
    '{"error": {"code": 8, "message": "quota exceeded"}}',
    '[{"code": 8, "message": "quota exceeded"}]',
    "RESOURCE_EXHAUSTED: quota exceeded",
    "429 RESOURCE_EXHAUSTED. {'error': {'message': 'quota exceeded'}}",
    "429 quota exceeded",
    "HTTP 429: quota exceeded",
    "HTTP/1.1 429 Too Many Requests: quota exceeded",
    "Error code: 429 - quota exceeded",
    "rpc error: code = ResourceExhausted desc = quota exceeded",
]


def refusal(line: dict[str, Any]) -> Refusal:
    read = classify(json.dumps({"key": "a", **line}).encode())
    assert isinstance(read, Refusal)
    return read


@pytest.mark.parametrize("shape", SHAPES, ids=json.dumps)
@pytest.mark.parametrize(
    "place",
    [
        lambda error: {"error": error},
        lambda error: {"error": error, "response": None},
        lambda error: {"error": error, "response": {}},
        lambda error: {"status": error},
        lambda error: {"status": error, "response": {"candidates": []}},
        lambda error: {"errors": [error] if isinstance(error, dict) else error},
        lambda error: {"response": error},
        lambda error: {"response": {"error": error}},
        lambda error: {"response": {"error": {"error": error}}},
        lambda error: {"response": {"status": error}},
        lambda error: {"response": {"candidates": [{"error": error}]}},
        lambda error: {"response": {"candidates": [{"content": {}}], "error": error}},
    ],
)
def test_code_status_and_words_survive_in_every_shape_and_place(place: Any, shape: Any) -> None:
    read = refusal(place(shape))

    assert read.reason is Reason.REQUEST_ERROR
    assert read.code in (8, 429)
    assert read.status == "RESOURCE_EXHAUSTED"
    assert "quota exceeded" in (read.message or "")
    assert read.retryable


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if isinstance(shape, dict)], ids=json.dumps)
def test_an_error_on_the_line_itself_is_read(shape: dict[str, Any]) -> None:
    read = refusal(shape)

    assert (read.reason, read.status) == (Reason.REQUEST_ERROR, "RESOURCE_EXHAUSTED")
    assert "quota exceeded" in (read.message or "")


@pytest.mark.parametrize("status", [name for name in STATUSES if name != "OK"])
@pytest.mark.parametrize("member", ["error", "status", "code"])
def test_every_status_word_is_known_where_a_code_is_expected(member: str, status: str) -> None:
    read = refusal({member: status, "message": "words"})

    assert (read.code, read.status, read.message) == (STATUSES[status].code, status, "words")
    assert read.retryable is STATUSES[status].retryable


@pytest.mark.parametrize(
    "line",
    [{"status": "the model was busy"}, {"error": "the model was busy"}, {"response": "the model was busy"},
     {"error": {"message": "the model was busy"}}, {"message": "the model was busy"},
     {"response": {"message": "the model was busy"}},
     {"error": {"code": "busy", "message": "the model was busy"}}, {"status": {"reason": "the model was busy"}},
     {"error": ["the model was busy"]}, {"error": {"text": "the model was busy"}},
     {"status": "FAILED", "message": "the model was busy"},
     {"error": {"code": None, "status": None, "message": "the model was busy"}}],
)  # fmt: skip
def test_words_without_a_code_are_an_error_that_is_not_retried(line: dict[str, Any]) -> None:
    read = refusal(line)

    assert (read.reason, read.code, read.retryable) == (Reason.REQUEST_ERROR, None, False)
    assert "the model was busy" in (read.message or "")


def test_an_unknown_word_in_the_place_of_the_code_is_kept() -> None:
    assert refusal({"error": {"code": "quota_exceeded", "message": "wait"}}).message == "quota_exceeded: wait"


def test_a_status_that_is_not_canonical_is_kept() -> None:
    assert refusal({"status": "FAILED"}).status == "FAILED"


@pytest.mark.parametrize(
    "extra",
    [{"status": word} for word in ("OK", "ok", "SUCCEEDED", "Success", "COMPLETED", "200 OK", "200", 200, 0, "ARCHIVED", None)]
    + [{"status": {"code": 200}}, {"status": {"state": "SUCCEEDED"}}, {"status": {"code": 0, "message": "success"}}]
    + [{"error": said} for said in (None, {}, [], "", False, {"code": 0}, {"code": "OK"}, {"code": None}, {"code": 200})]
    + [{"errors": []}, {"code": 200, "message": "fine"}, {"state": "DONE"}],
)  # fmt: skip
def test_what_reports_success_or_nothing_does_not_spoil_an_answer(extra: dict[str, Any]) -> None:
    response = {"candidates": [{"content": {"parts": [{"text": "t"}]}, "finishReason": "STOP"}]}

    assert isinstance(classify(json.dumps({"key": "a", "response": response, **extra}).encode()), Answer)


@pytest.mark.parametrize("extra", [{"status": "SUCCEEDED"}, {"status": 200}, {"error": {"code": 0}}, {"error": None}, {}])
def test_success_without_an_answer_is_empty(extra: dict[str, Any]) -> None:
    assert refusal(extra).reason is Reason.EMPTY


@pytest.mark.parametrize("opening", ['{"error":', '{"cause":', '{"message":', "["])
def test_an_error_of_any_depth_is_read_without_raising(opening: str) -> None:
    for depth in (5, 50, 400, 900, 5000):
        closing = "]" if opening == "[" else "}"
        raw = '{"key":"a","error":' + opening * depth + '{"code":8}' + closing * depth + "}"

        assert not isinstance(classify(raw.encode()), Answer)
