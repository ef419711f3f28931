"""Synthetic answers: the parts that a request asks for, the same for the same request."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.emulator.answers.embeddings import embed_content, unit_vector
from airflow_gemini_batch.emulator.answers.extracts import data_part, extract
from airflow_gemini_batch.emulator.answers.picture import SIZE, png
from airflow_gemini_batch.emulator.answers.response import generate_content

MODEL = "models/gemini-2.5-flash"


def ask(text: str = "Summarise: Rain falls. It is wet. Take a coat.", **fields: object) -> dict[str, object]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}


def only_part(request: dict[str, object]) -> dict[str, object]:
    [candidate] = generate_content(request, MODEL)["candidates"]
    [part] = candidate["content"]["parts"]
    return part


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Summarise in one line: Rain falls. It is wet.", "Rain falls."),
        ("Summarise this text:\nRain falls. It is wet.", "Rain falls."),
        ("Say what it does.\n\nReturn e.g. the sum of all items", "Return e.g."),
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("", "There is nothing to say about an empty prompt."),
    ],
)
def test_an_extract_is_the_first_sentence_of_the_material(prompt, expected):
    assert extract(prompt) == expected


@given(st.text())
def test_every_prompt_has_an_answer(prompt):
    assert extract(prompt)
    assert data_part(prompt) in prompt
    json.dumps(generate_content(ask(prompt), MODEL))


def test_the_order_of_keys_does_not_change_the_answer():
    one = ask(generationConfig={"temperature": 1}, systemInstruction={"parts": [{"text": "s"}]})
    two = dict(reversed(one.items()))

    assert generate_content(one, MODEL) == generate_content(two, MODEL)
    assert generate_content(one, MODEL)["responseId"] != generate_content(ask("other"), MODEL)["responseId"]
    assert generate_content(one, MODEL, answer="a")["responseId"] != generate_content(one, MODEL, answer="b")["responseId"]


@pytest.mark.parametrize("config", [{"maxOutputTokens": 2}, {"max_output_tokens": 2}])
def test_max_output_tokens_cuts_the_text(config):
    answer = generate_content(ask(generationConfig=config), MODEL)

    assert answer["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert answer["usageMetadata"]["candidatesTokenCount"] <= 2


def test_stop_sequences_end_the_text():
    assert only_part(ask(generationConfig={"stopSequences": ["falls"]})) == {"text": "Rain "}


def test_thoughts_come_first_and_are_marked():
    answer = generate_content(ask(generation_config={"thinking_config": {"include_thoughts": True}}), MODEL)

    thought, text = answer["candidates"][0]["content"]["parts"]
    assert thought["thought"] is True
    assert "thought" not in text
    usage = answer["usageMetadata"]
    assert usage["totalTokenCount"] == sum(usage[f"{name}TokenCount"] for name in ("prompt", "candidates", "thoughts"))


@pytest.mark.parametrize("name", ["codeExecution", "code_execution"])
def test_code_and_its_result_come_before_the_answer(name: str):
    answer = generate_content(ask(tools=[{name: {}}]), MODEL)

    announced, code, result, text = answer["candidates"][0]["content"]["parts"]
    assert announced["text"]
    assert code["executableCode"]["language"] == "PYTHON"
    assert result["codeExecutionResult"]["outcome"] == "OUTCOME_OK"
    assert text == {"text": "Rain falls. It is wet."}
    usage = answer["usageMetadata"]
    assert usage["toolUsePromptTokenCount"] > 0
    counts = ("promptTokenCount", "candidatesTokenCount", "toolUsePromptTokenCount")
    assert usage["totalTokenCount"] == sum(usage[count] for count in counts)


def test_the_code_of_any_prompt_is_python_with_the_result_that_is_shown(capsys):
    prompt = 'Repeat: it\'s "quoted" \\ and new\u2028lined.'
    _, code, result, _ = generate_content(ask(prompt, tools=[{"codeExecution": {}}]), MODEL)["candidates"][0]["content"]["parts"]

    exec(code["executableCode"]["code"], {})  # noqa: S102

    assert capsys.readouterr().out == result["codeExecutionResult"]["output"]


@pytest.mark.parametrize(
    ("prompt", "pages"),
    [
        ("Compare https://a.test/x?y=1 and http://b.test.", ["https://a.test/x?y=1", "http://b.test"]),
        ("Read (https://a.test/x), then https://a.test/x again.", ["https://a.test/x"]),
        (" ".join(f"https://a.test/{number}" for number in range(30)), [f"https://a.test/{number}" for number in range(20)]),
    ],
)
def test_pages_in_the_prompt_are_named_as_retrieved(prompt: str, pages: list[str]):
    [candidate] = generate_content(ask(prompt, tools=[{"urlContext": {}}]), MODEL)["candidates"]

    shown = candidate["urlContextMetadata"]["urlMetadata"]
    assert [page["retrievedUrl"] for page in shown] == pages
    assert {page["urlRetrievalStatus"] for page in shown} == {"URL_RETRIEVAL_STATUS_SUCCESS"}


@pytest.mark.parametrize("tools", [[], [{"googleSearch": {}}], [{"urlContext": {}}], [{"codeExecution": None}]])
def test_without_the_tool_or_a_page_there_is_no_code_and_no_page(tools: list[dict[str, object]]):
    [candidate] = generate_content(ask(tools=tools), MODEL)["candidates"]

    assert "urlContextMetadata" not in candidate
    assert [set(part) for part in candidate["content"]["parts"]] == [{"text"}]


def test_a_declared_function_is_called_with_arguments_of_its_schema():
    parameters = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
    tools = [{"function_declarations": [{"name": "weather", "parameters": parameters}]}]

    call = only_part(ask(tools=tools))["functionCall"]
    without = only_part(ask(tools=tools, toolConfig={"functionCallingConfig": {"mode": "NONE"}}))

    assert call["name"] == "weather"
    assert call["args"]["city"]
    assert "text" in without


def test_an_enum_is_answered_as_plain_text():
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["good", "bad"]}}

    assert only_part(ask(generationConfig=config))["text"] in ("good", "bad")


def test_json_without_a_schema_is_json():
    assert json.loads(only_part(ask(generationConfig={"responseMimeType": "application/json"}))["text"])


def test_media_are_counted_by_modality():
    content = {"parts": [{"text": "What is this?"}, {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]}

    details = generate_content({"contents": [content]}, MODEL)["usageMetadata"]["promptTokensDetails"]

    assert {detail["modality"] for detail in details} == {"TEXT", "IMAGE"}


def test_pictures_are_valid_png():
    picture = png(12345 << 64)

    assert struct.unpack(">II", picture[16:24]) == (SIZE, SIZE)
    data = picture[picture.index(b"IDAT") + 4 : picture.index(b"IEND") - 8]
    assert len(zlib.decompress(data)) == SIZE * (1 + 3 * SIZE)
    assert png(1 << 120) != png(2 << 120)


@given(st.text(), st.integers(1, 300))
def test_embeddings_are_unit_vectors(text, dimension):
    assert sum(value * value for value in unit_vector(text, dimension)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("model", "settings", "dimension"),
    [
        ("models/gemini-embedding-2", {}, 3072),
        ("models/text-embedding-004", {}, 768),
        ("models/gemini-embedding-2", {"output_dimensionality": 5}, 5),
        ("models/gemini-embedding-2", {"outputDimensionality": 5}, 5),
    ],
)
def test_embeddings_have_the_requested_dimension(model, settings, dimension):
    request = {"content": {"parts": [{"text": "rain"}]}, **settings}

    assert len(embed_content(request, model, in_batch=True)["embedding"]["values"]) == dimension
