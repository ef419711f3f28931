"""Tokens of a request from its bytes: text by the rule, media where that is possible, output by its limit."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from airflow_gemini_batch.engine.costs.request_size import RequestSize, Sizer, output_limit, tokens_of_text


def size_of(request: dict[str, Any], model: str = "gemini-3.6-flash") -> RequestSize:
    return Sizer(model).of_line(json.dumps({"key": "k", "request": request}).encode())


def asked(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"contents": [{"parts": list(parts)}], **fields}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("abcd", 1), ("1234", 4), ("{}", 1), ("abcd 12, x", 5), ("日本", 2)],
)
def test_digits_are_tokens_punctuation_halves_and_all_else_quarters(text: str, tokens: int) -> None:
    assert tokens_of_text(text.encode()) == tokens


def test_escapes_are_not_what_the_model_reads() -> None:
    request = asked({"text": "日本" * 100})

    escaped = size_of(request)
    plain = Sizer("gemini-3.6-flash").of_line(json.dumps({"key": "k", "request": request}, ensure_ascii=False).encode())

    assert escaped.text == plain.text == 150


@pytest.mark.parametrize("spelling", ["systemInstruction", "system_instruction"])
def test_the_system_instruction_and_tools_go_in_too(spelling: str) -> None:
    plain = size_of(asked({"text": "question"})).text

    assert size_of(asked({"text": "question"}, **{spelling: {"parts": [{"text": "word " * 40}]}})).text == plain + 50
    assert size_of(asked({"text": "question"}, tools=[{"googleSearch": {}}])).text > plain


@pytest.mark.parametrize(
    ("config", "model", "output"),
    [
        ({"maxOutputTokens": 100}, "gemini-3.6-flash", 100),
        ({"max_output_tokens": 100, "candidate_count": 3}, "gemini-3.6-flash", 300),
        ({}, "models/gemini-3.6-flash", 65_536),
        ({}, "gemini-2.0-flash", 8_192),
        ({}, "someone-else", None),
        ({"maxOutputTokens": 7}, "someone-else", 7),
    ],
)
def test_output_ends_at_the_limit_of_the_request_or_the_model(config: dict[str, Any], model: str, output: int | None) -> None:
    assert size_of(asked({"text": "x"}, generationConfig=config), model).output == output


def test_an_embedding_has_no_output() -> None:
    assert size_of({"content": {"parts": [{"text": "four"}]}}).output == 0


@pytest.mark.parametrize(("level", "tokens"), [(None, 1120), ("MEDIA_RESOLUTION_LOW", 280), ("MEDIA_RESOLUTION_MEDIUM", 560)])
def test_an_image_has_the_tokens_of_its_resolution_at_most(level: str | None, tokens: int) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"x" * 9000).decode()}}
    config = {} if level is None else {"mediaResolution": level}

    size = size_of(asked(image, {"text": "what?"}, generationConfig=config))

    assert (size.images, size.unknown) == (tokens, [])
    assert size.text == 2
    assert size.low == 1
    assert size.high == 3 + tokens


@pytest.mark.parametrize(
    ("model", "part", "unknown"),
    [
        ("gemini-2.5-flash", {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}, "image/png"),
        ("gemini-3.6-flash", {"fileData": {"mimeType": "video/mp4", "fileUri": "files/x"}}, "video/mp4"),
        ("gemini-3.6-flash", {"file_data": {"file_uri": "gs://b/x"}}, "media of an unknown type"),
    ],
)
def test_media_whose_tokens_cannot_be_seen_are_named(model: str, part: dict[str, Any], unknown: str) -> None:
    assert size_of(asked(part), model).unknown == [("input", unknown)]


def test_a_cached_content_is_named() -> None:
    assert size_of(asked({"text": "x"}, cachedContent="cachedContents/1")).unknown == [("input", "a cached content")]


@pytest.mark.parametrize("request_", [{"contents": 5}, {"contents": [{"parts": [{"text": 5}]}]}, [], {"generationConfig": [1]}])
def test_a_request_of_another_shape_is_no_error(request_: Any) -> None:
    assert Sizer("gemini-3.6-flash").of_line(json.dumps({"key": "k", "request": request_}).encode()).unknown != []


def test_the_model_of_a_limit_is_the_longest_that_fits() -> None:
    assert output_limit("gemini-2.5-flash-image") == 32_768
    assert output_limit("gemini-2.5-flash") == 65_536
