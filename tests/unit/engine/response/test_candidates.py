"""Media, tools and thoughts are read off answers of any kind, and nothing raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.response.candidates import first_candidate
from airflow_gemini_batch.engine.response.media import GeneratedMediaColumn, file_name
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.response.tools import (
    CITATIONS,
    CODE_EXECUTION,
    FUNCTION_CALLS,
    GROUNDING,
    THOUGHTS,
    URL_CONTEXT,
)
from airflow_gemini_batch.engine.run.storage import locate


def answer(*parts: Any, key: str = "k", **members: Any) -> Answer:
    return Answer(key, json.dumps({"candidates": [{"content": {"parts": list(parts)}, **members}]}).encode())


def image(data: str = "AQID", **members: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": data}, **members}


def column(extra: Any, *answers: Answer) -> tuple[list[Any], dict[int, str]]:
    array, problems = extra.read(answers)
    array.validate(full=True)
    assert array.type == extra.type
    return array.to_pylist(), problems


def test_every_medium_of_an_answer_is_kept_in_order() -> None:
    rows, problems = column(
        GeneratedMediaColumn(), answer({"text": "a"}, image(), image("BAUG")), answer({"text": "b"}), answer(image(""))
    )

    medium = {"mime_type": "image/png", "data": b"\x01\x02\x03"}
    assert rows == [[medium, {**medium, "data": b"\x04\x05\x06"}], None, [{**medium, "data": b""}]]
    assert problems == {}


@pytest.mark.parametrize(
    "part",
    [
        {"inline_data": {"mime_type": "image/png", "data": "-_8="}},
        {"inlineData": {"mimeType": "image/png", "data": "-_8"}},
        {"inlineData": {"mimeType": "image/png", "data": "+/8"}},
        {"inlineData": {"mimeType": "image/png", "data": "+/\r\n8=\n"}},
    ],
)
def test_either_spelling_and_alphabet_is_read(part: Any) -> None:
    assert column(GeneratedMediaColumn(), answer(part)) == ([[{"mime_type": "image/png", "data": b"\xfb\xff"}]], {})


def test_what_a_model_only_thought_of_is_no_result() -> None:
    assert column(GeneratedMediaColumn(), answer(image(thought=True), image("BAUG")))[0][0][0]["data"] == b"\x04\x05\x06"


@pytest.mark.parametrize("data", ["no base64!", None, 7])
def test_data_that_is_no_base64_costs_its_own_row(data: Any) -> None:
    rows, problems = column(GeneratedMediaColumn(), answer(image()), answer(image(data)), answer(image()))

    assert [row is None for row in rows] == [False, True, False]
    assert problems == {1: "the answer holds inline data that is not base64"}


@pytest.mark.parametrize(
    ("mime_type", "suffix"),
    [("image/PNG", ".png"), ("image/png; q=1", ".png"), ("audio/L16;codec=pcm;rate=24000", ".pcm"), ("../../x", ".bin")],
)
def test_a_file_is_named_by_its_type_without_parameters(mime_type: str, suffix: str, tmp_path: Path) -> None:
    part = {"inlineData": {"mimeType": mime_type, "data": "BAUG"}}

    [[medium]], _ = column(GeneratedMediaColumn(locate(str(tmp_path)) / "part"), answer(part))

    assert (Path(medium["uri"]).suffix, medium["mime_type"]) == (suffix, mime_type)


def test_files_hold_the_media_and_the_column_their_uris(tmp_path: Path) -> None:
    extra = GeneratedMediaColumn(locate(str(tmp_path)) / "part")

    rows, _ = column(
        extra, answer(image(), {"inlineData": {"mimeType": "x/y", "data": "BAUG"}}, key="a/b"), answer({"text": "t"})
    )

    assert rows[1] is None
    files = [Path(medium["uri"]) for medium in rows[0]]
    assert [file.read_bytes() for file in files] == [b"\x01\x02\x03", b"\x04\x05\x06"]
    assert [file.name for file in files] == [f"{file_name('a/b')}-0.png", f"{file_name('a/b')}-1.bin"]
    assert column(extra, answer(image(), key="a/b"))[0][0][0]["uri"] == rows[0][0]["uri"]


@given(st.text(), st.text())
def test_names_are_safe_and_tell_keys_apart(key: str, other: str) -> None:
    try:
        name = file_name(key)
        assert name.isascii()
        assert len(name) < 80
        assert not set(name) & set("/\\:*?%. ")
        assert (file_name(other) == name) == (other == key)
    except UnicodeEncodeError:
        pytest.fail("keys are valid UTF-8")


@pytest.mark.parametrize("spelling", ["camel", "snake"])
def test_metadata_and_calls_are_json_text(spelling: str) -> None:
    names = {
        "groundingMetadata": {"a": 1},
        "citationMetadata": {"b": 2},
        "urlContextMetadata": {"c": 3},
        "functionCall": {"name": "f", "args": {"x": 1.10}},
    }
    if spelling == "snake":
        names = {"".join(f"_{c.lower()}" if c.isupper() else c for c in name): value for name, value in names.items()}
    *metadata, (call_name, call) = names.items()
    one = answer({call_name: call}, {call_name: call}, **dict(metadata))

    assert [json.loads(column(extra, one)[0][0]) for extra in (GROUNDING, CITATIONS, URL_CONTEXT, FUNCTION_CALLS)] == [
        {"a": 1},
        {"b": 2},
        {"c": 3},
        [call, call],
    ]


@pytest.mark.parametrize("code_name", ["executableCode", "executable_code"])
@pytest.mark.parametrize("result_name", ["codeExecutionResult", "code_execution_result"])
def test_code_and_its_results_are_one_list_in_order(code_name: str, result_name: str) -> None:
    code, result = {"language": "PYTHON", "code": "print(1)"}, {"outcome": "OUTCOME_OK", "output": "1\n"}
    one = answer({"text": "See: "}, {code_name: code}, {result_name: result}, {code_name: code}, {"text": "1"})

    [[text], problems] = column(CODE_EXECUTION, one)

    assert json.loads(text) == [{"executableCode": code}, {"codeExecutionResult": result}, {"executableCode": code}]
    assert problems == {}


@pytest.mark.parametrize("value", [None, "print(1)", 7, [], [{}]])
def test_code_that_is_not_an_object_is_left_out(value: Any) -> None:
    rows, problems = column(CODE_EXECUTION, answer({"executableCode": value}), answer({"text": "executableCode"}))

    assert (rows, problems) == ([None, None], {})


@pytest.mark.parametrize(
    ("parts", "texts"),
    [
        ([], []),
        ([{"text": "a"}, {"text": "b"}], ["ab"]),
        ([{"text": "a"}, {"text": "hm", "thought": True}, {"text": "b"}], ["ab"]),
        ([{"text": "a"}, {"executableCode": {}}, {"codeExecutionResult": {}}, {"text": "b"}], ["a", "b"]),
        ([{"text": "a"}, {"kindNotKnownYet": {}}, {"text": " \n"}], ["a"]),
        ([{"text": "a"}, image(), {"text": "b"}, {"functionCall": {}}], ["a", "b"]),
    ],
)
def test_what_is_not_text_separates_texts(parts: list[Any], texts: list[str]) -> None:
    assert first_candidate(answer(*parts).response).texts == texts


def test_thoughts_are_joined_and_the_rest_is_left_out() -> None:
    one = answer({"text": "I ", "thought": True}, {"text": "answer"}, {"text": "think", "thought": True})

    assert column(THOUGHTS, one, answer({"text": "answer"})) == (["I think", None], {})


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["candidates", "content", "parts", "text", "thought", "inlineData", "functionCall", "executableCode"]),
    inner
), max_leaves=10).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nothing_raises(response: bytes) -> None:
    first_candidate(response)
    for extra in (GeneratedMediaColumn(), GROUNDING, CITATIONS, FUNCTION_CALLS, CODE_EXECUTION, URL_CONTEXT, THOUGHTS):
        column(extra, Answer("k", response))
