"""OpenAI bodies as Gemini requests: what becomes of each field, and what is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoded import InvalidRow
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.request.openai.fields import CHAT, EMBEDDINGS, Treatment
from airflow_gemini_batch.engine.request.openai.requests import chat_request, embed_request
from airflow_gemini_batch.engine.request.openai.values import NotConvertibleError
from airflow_gemini_batch.engine.shapes.google_schema import google_schema
from airflow_gemini_batch.engine.specs import RawRequest

MODEL = "gemini-3.6-flash"
HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"bestGuess": {"type": "string"}}, "additionalProperties": False}
FUNCTION = {"name": "look_up", "description": "d", "parameters": SCHEMA, "strict": True}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"id": 7}'}}
PNG = "data:image/png;base64,iVBORw0KGgo="


def config(**fields: Any) -> dict[str, Any]:
    return chat_request({"messages": HELLO, **fields}, MODEL).get("generation_config", {})


def turns(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return chat_request({"messages": list(messages)}, MODEL)["contents"]


def test_a_plain_question_is_one_turn_and_no_settings() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "system", "content": "Be nice."}, *HELLO]}

    assert chat_request(body, MODEL) == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "system_instruction": {"parts": [{"text": "Be nice."}]},
    }


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("temperature", 0.2, {"temperature": 0.2}),
        ("top_p", 1, {"top_p": 1}),
        ("max_tokens", 10, {"max_output_tokens": 10}),
        ("max_completion_tokens", 10, {"max_output_tokens": 10}),
        ("stop", "END", {"stop_sequences": ["END"]}),
        ("stop", ["a", "b"], {"stop_sequences": ["a", "b"]}),
        ("n", 2, {"candidate_count": 2}),
        ("seed", 7, {"seed": 7}),
        ("presence_penalty", 0.5, {"presence_penalty": 0.5}),
        ("frequency_penalty", -0.5, {"frequency_penalty": -0.5}),
        ("logprobs", True, {"response_logprobs": True}),
        ("top_logprobs", 3, {"logprobs": 3}),
        ("response_format", {"type": "text"}, {}),
        ("response_format", {"type": "json_object"}, {"response_mime_type": "application/json"}),
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "guess", "strict": True, "schema": SCHEMA}},
            {"response_mime_type": "application/json", "response_json_schema": SCHEMA},
        ),
        ("reasoning_effort", "low", {"thinking_config": {"thinking_level": "LOW"}}),
        (
            "extra_body",
            {"google": {"thinking_config": {"thinking_level": "high", "include_thoughts": True}}},
            {"thinking_config": {"thinking_level": "HIGH", "include_thoughts": True}},
        ),
        ("temperature", None, {}),
        ("stream", False, {}),
        ("logit_bias", {}, {}),
        ("metadata", {"a": "b"}, {}),
    ],
)
def test_a_setting_keeps_its_meaning(field: str, value: Any, expected: dict[str, Any]) -> None:
    assert config(**{field: value}) == expected


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-2.5-flash", "none", {"thinking_budget": 0}),
        ("models/gemini-2.5-pro", "minimal", {"thinking_budget": 1024}),
        ("gemini-2.5-flash", "medium", {"thinking_budget": 8192}),
        ("gemini-2.5-flash", "high", {"thinking_budget": 24576}),
        ("gemini-3.6-flash", "minimal", {"thinking_level": "MINIMAL"}),
        ("gemini-3.1-pro", "minimal", {"thinking_level": "LOW"}),
        ("gemini-3.1-pro", "high", {"thinking_level": "HIGH"}),
    ],
)
def test_effort_is_a_budget_or_a_level_by_the_model(model: str, effort: str, expected: dict[str, Any]) -> None:
    request = chat_request({"messages": HELLO, "reasoning_effort": effort}, model)

    assert request["generation_config"]["thinking_config"] == expected


def test_the_later_limit_of_tokens_goes_before_the_older() -> None:
    assert config(max_completion_tokens=5, max_tokens=9)["max_output_tokens"] == 5


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "look_up"}}, {"mode": "ANY", "allowed_function_names": ["look_up"]}),
    ],
)
def test_functions_are_declared_and_chosen(choice: Any, expected: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": FUNCTION}]

    request = chat_request({"messages": HELLO, "tools": tools, "tool_choice": choice}, MODEL)

    [declared] = request["tools"][0]["function_declarations"]
    assert declared == {"name": "look_up", "description": "d", "parameters_json_schema": SCHEMA}
    assert request["tool_config"] == {"function_calling_config": expected}


def test_a_conversation_with_calls_becomes_turns_by_name() -> None:
    signed = {**CALL, "id": "call_2", "extra_content": {"google": {"thought_signature": "c2ln"}}}
    contents = turns(
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL, signed]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"price": 3}'},
        {"role": "tool", "tool_call_id": "call_2", "content": "sold out"},
        {"role": "assistant", "content": [{"type": "text", "text": "It costs 3."}]},
    )

    called = {"function_call": {"name": "look_up", "args": {"id": 7}}}
    assert contents[1:] == [
        {"role": "model", "parts": [called, {**called, "thought_signature": "c2ln"}]},
        {
            "role": "user",
            "parts": [
                {"function_response": {"name": "look_up", "response": {"price": 3}}},
                {"function_response": {"name": "look_up", "response": {"result": "sold out"}}},
            ],
        },
        {"role": "model", "parts": [{"text": "It costs 3."}]},
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "x"}, {"text": "x"}),
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
            {"inline_data": {"mime_type": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:text/plain,a%20b"}},
            {"inline_data": {"mime_type": "text/plain", "data": "YSBi"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x.test/a.jpeg?size=1"}},
            {"file_data": {"file_uri": "https://x.test/a.jpeg?size=1", "mime_type": "image/jpeg"}},
        ),
        ({"type": "image_url", "image_url": {"url": "https://x.test/a"}}, {"file_data": {"file_uri": "https://x.test/a"}}),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            {"inline_data": {"mime_type": "application/pdf", "data": "AAAA"}},
        ),
    ],
)
def test_a_part_keeps_its_content(part: dict[str, Any], expected: dict[str, Any]) -> None:
    [turn] = turns({"role": "user", "content": [part]})

    assert turn["parts"] == [expected]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "'messages' is missing"),
        ({"messages": "Hello"}, "'messages' is 'Hello'; expected a list"),
        ({"messages": [{"role": "system", "content": "x"}]}, "no message of the user"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages\\[0\\] has the role 'function'"),
        ({"messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]}, "which no message before it made"),
        ({"messages": [{"role": "assistant", "content": ""}]}, "is empty"),
        ({"messages": [{"role": "assistant", "refusal": "no", "content": "x"}]}, "messages\\[0\\].refusal cannot be converted"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "content of type 'video'"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "stored at OpenAI"),
        ({"messages": HELLO, "temperature": "0.2"}, "'temperature' is '0.2'; expected a number"),
        ({"messages": HELLO, "n": True}, "'n' is 'True'; expected an integer"),
        ({"messages": HELLO, "seed": 2**31}, "'seed' is '2147483648'; expected an integer of 32 bits"),
        ({"messages": HELLO, "extra_body": {"google": {"thinking_config": {"thinking_budget": "x"}}}}, "thinking_budget' is 'x'"),
        ({"messages": HELLO, "extra_body": {"google": {"thinking_config": {"thinking_level": "x"}}}}, "known are MINIMAL, LOW"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://[x"}}]}]}, "valid link"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": []}}]}]}, "of the format"),
        ({"messages": [{"role": "assistant", "tool_calls": [{**CALL, "extra_content": 5}]}]}, "extra_content' is '5'"),
        ({"messages": HELLO, "stream": True}, "'stream' cannot be converted: only `false`"),
        ({"messages": HELLO, "stream": 0}, "'stream' cannot be converted"),
        ({"messages": HELLO, "parallel_tool_calls": False}, "only `true`"),
        ({"messages": HELLO, "modalities": ["text", "audio"]}, "response_modalities"),
        ({"messages": HELLO, "logit_bias": {"1": 2}}, "cannot bias tokens"),
        ({"messages": HELLO, "tempature": 1}, "'tempature' is not a known field"),
        ({"messages": HELLO, "response_format": {"type": "grammar"}}, "response_format of type 'grammar'"),
        ({"messages": HELLO, "reasoning_effort": "none"}, "has no counterpart in gemini-3.6-flash"),
        ({"messages": HELLO, "tools": [{"type": "custom"}]}, "a tool of type 'custom'"),
        ({"messages": HELLO, "tool_choice": "any"}, "tool_choice 'any'"),
        ({"messages": HELLO, "extra_body": {"google": {"x": 1}}}, "extra_body.google.x"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(body: dict[str, Any], message: str) -> None:
    with pytest.raises(NotConvertibleError, match=message):
        chat_request(body, MODEL)


@pytest.mark.parametrize("field", [name for name, field in CHAT.items() if field.treatment is Treatment.REFUSED])
def test_every_refused_field_says_why(field: str) -> None:
    with pytest.raises(NotConvertibleError, match=field):
        chat_request({"messages": HELLO, field: {"any": "thing"}}, MODEL)


def test_embeddings_have_one_text_and_the_runs_dimensions() -> None:
    body = {"model": "m", "input": ["a text"], "dimensions": 8, "encoding_format": "base64", "user": "u"}

    assert embed_request(body, 8) == {"content": {"parts": [{"text": "a text"}]}, "output_dimensionality": 8}
    assert set(body) == set(EMBEDDINGS)


@pytest.mark.parametrize("body", [{"input": ["a", "b"]}, {"input": [1, 2]}, {"input": ""}, {}, {"input": "a", "dimensions": 9}])
def test_other_embeddings_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(NotConvertibleError):
        embed_request(body, 8)


def encode(request: RawRequest, model: str = MODEL, **columns: list[Any]) -> list[Any]:
    batch = pa.RecordBatch.from_pydict(columns)
    encoder = compile_request(request, batch.schema, model)
    return encoder.encode(batch.select(encoder.columns)).rows()


def test_rows_fail_alone_and_name_the_reason() -> None:
    good = json.dumps({"messages": HELLO})
    bodies = [good, None, "{", "[]", '{"messages": [], "audio": {}}']

    encoded = encode(RawRequest("body", format="openai"), body=bodies)

    assert json.loads(encoded[0]) == chat_request({"messages": HELLO}, MODEL)
    assert all(isinstance(row, InvalidRow) for row in encoded[1:])
    assert encoded[4].message == "OpenAI body: 'audio' cannot be converted: spoken answers"


@pytest.mark.parametrize(
    "body",
    [
        '{"temperature": 1e400, "messages": [{"role": "user", "content": "x"}]}',
        '{"temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
        json.dumps(
            {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[" * 10**5}}]}]}
        ),
        json.dumps(
            {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "1e400"}}]}]}
        ),
    ],
)
def test_json_that_could_not_be_written_again_costs_its_own_row(body: str) -> None:
    good, bad = encode(RawRequest("body", format="openai"), body=[json.dumps({"messages": HELLO}), body])

    assert isinstance(good, bytes)
    assert isinstance(bad, InvalidRow)


def test_a_rows_schema_may_be_sent_in_googles_own_form() -> None:
    schemas: list[Any] = [SCHEMA, {"type": "array", "items": {"multipleOf": 2}}, {"properties": 5}, {"$ref": "http://x"}]
    bodies = [
        json.dumps({"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}})
        for schema in schemas
    ]
    batch = pa.RecordBatch.from_pydict({"body": [*bodies, json.dumps({"messages": HELLO})]})
    request = RawRequest("body", format="openai", response_schema={"type": "object"})

    encoder = compile_request(request, batch.schema, MODEL, schema_field="response_schema")
    [good, multiple, odd, outside, plain] = encoder.encode(batch).rows()

    assert isinstance(good, bytes)
    config = json.loads(good)["generation_config"]
    assert config == {"response_mime_type": "application/json", "response_schema": google_schema(SCHEMA)}
    for row, words in ((multiple, "'multipleOf' at $[]"), (odd, "$.properties"), (outside, "is outside of the schema")):
        assert isinstance(row, InvalidRow)
        assert words in row.message
    assert isinstance(plain, bytes)
    assert encoder.spec["schema_field"] == "response_schema"
    assert encoder.spec["response_schema"] == {"type": "object"}


def test_what_a_tool_said_is_kept_as_text_where_it_is_no_json() -> None:
    told = turns(
        *HELLO, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "[NaN]"}
    )

    assert told[2]["parts"] == [{"function_response": {"name": "look_up", "response": {"result": "[NaN]"}}}]


def test_what_an_answer_of_openai_says_with_nothing_in_it_may_be_sent_back() -> None:
    [_, turn] = turns(*HELLO, {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "audio": None})

    assert turn == {"role": "model", "parts": [{"text": "x"}]}


EVERYTHING: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "t"}]},
        {"role": "assistant", "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "AAAA"}}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "{}"},
    ],
    "stop": ["a"],
    "seed": 1,
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "look_up"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    "extra_body": {"google": {"thinking_config": {"include_thoughts": True}}},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inner:
        yield from places(one, (*path, step))


@given(
    st.sampled_from(sorted(places(EVERYTHING), key=str)),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.none()),
)
def test_no_body_raises_whatever_stands_in_it(path: tuple[Any, ...], value: Any) -> None:
    body = json.loads(json.dumps({"": EVERYTHING}))
    place = body
    for step, _ in itertools.pairwise(("", *path)):
        place = place[step]
    place[("", *path)[-1]] = value

    [encoded] = encode(RawRequest("body", format="openai"), body=[json.dumps(body[""])])

    assert isinstance(encoded, InvalidRow) or json.loads(encoded)["contents"]


def test_a_line_of_the_other_kind_is_refused() -> None:
    request = RawRequest("body", format="openai")

    [chat, embedding] = encode(
        request, body=[json.dumps({"messages": HELLO})] * 2, url=["/v1/chat/completions", "/v1/embeddings"]
    )

    assert isinstance(chat, bytes)
    assert "one run makes requests of one kind" in embedding.message


@pytest.mark.parametrize("format", ["openai-embeddings", "gemini-embeddings"])
@pytest.mark.parametrize("dimensions", [0, -1, 1.5, True])
def test_a_length_that_no_vector_has_is_an_error_before_any_row(format: Any, dimensions: Any) -> None:
    with pytest.raises(InputError, match=r"dimensions is .*; expected an integer of at least 1"):
        encode(RawRequest("body", format=format, dimensions=dimensions), body=["{}"])


def test_a_format_that_nobody_knows_is_an_error_before_any_row() -> None:
    with pytest.raises(InputError, match="format is 'anthropic'"):
        encode(RawRequest("body", format="anthropic"), body=["{}"])  # type: ignore[arg-type]


def test_the_settings_are_fields_of_the_sdk() -> None:
    """Under the names that Gemini has for them."""
    targets = {
        note.split("generation_config.")[1].split("`")[0]
        for note in (f.note for f in CHAT.values())
        if "generation_config." in note
    }

    assert targets
    assert targets <= set(types.GenerationConfig.model_fields)
