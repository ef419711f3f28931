"""What is done to the request that the SDK writes: keys to snake_case, the user's own words left alone."""

from __future__ import annotations

import types as python_types
import typing
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from google import genai
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.sdk_request import WORDS, snake_case, write_request


def written(config: Any) -> dict[str, Any]:
    return write_request(prompt="p", system_instruction=None, config=config)


def test_without_a_config_a_request_is_its_contents() -> None:
    assert written(None) == {"contents": [{"parts": [{"text": "p"}], "role": "user"}]}


def test_each_field_goes_where_rest_wants_it() -> None:
    config = {
        "temperature": 0.2,
        "system_instruction": "s",
        "tools": [{"google_search": {}}],
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "thinking_config": {"thinking_budget": 0},
        "cached_content": "cachedContents/1",
    }

    request = written(config)

    assert list(request) == ["contents", "system_instruction", "safety_settings", "tools", "cached_content", "generation_config"]
    assert request["generation_config"] == {"temperature": 0.2, "thinking_config": {"thinking_budget": 0}}


@pytest.mark.parametrize(
    "config",
    [
        {"maxOutputTokens": 5, "responseMimeType": "text/plain"},
        {"max_output_tokens": 5, "response_mime_type": "text/plain"},
        types.GenerateContentConfig(max_output_tokens=5, response_mime_type="text/plain"),
    ],
)
def test_a_config_may_be_in_either_case_or_an_instance(config: Any) -> None:
    assert written(config)["generation_config"] == {"max_output_tokens": 5, "response_mime_type": "text/plain"}


def test_the_users_own_words_keep_their_case() -> None:
    schema = {"type": "object", "properties": {"camelCase": {"type": "string", "minLength": 1}}, "additionalProperties": False}
    declaration = {
        "name": "lookUp",
        "parameters": {
            "type": "OBJECT",
            "properties": {
                "orderId": {"type": "STRING", "max_length": "9", "default": {"aB": 1}},
                "properties": {"type": "OBJECT", "properties": {"innerName": {"type": "STRING", "example": {"cD": 1}}}},
            },
        },
        "response_json_schema": schema,
    }
    config = {"tools": [{"function_declarations": [declaration]}], "response_json_schema": schema}

    request = written(config)

    sent = request["tools"][0]["function_declarations"][0]
    assert sent["parameters"]["properties"]["orderId"] == {"type": "STRING", "max_length": 9, "default": {"aB": 1}}
    assert sent["parameters"]["properties"]["properties"]["properties"]["innerName"]["example"] == {"cD": 1}
    assert sent["response_json_schema"] == schema
    assert request["generation_config"]["response_json_schema"] == schema


def test_labels_keep_their_case() -> None:
    try:
        request = written({"labels": {"costCenter": "x"}})
    except InputError as error:
        pytest.skip(str(error))  # early 2.x knows them only for Vertex

    assert request["labels"] == {"costCenter": "x"}


def test_response_is_free_in_a_function_response_and_a_message_in_a_declaration() -> None:
    request = {
        "parts": [{"functionResponse": {"response": {"aB": 1}}}],
        "functionDeclarations": [{"response": {"maxLength": 1}}],
    }

    assert snake_case(request) == {
        "parts": [{"function_response": {"response": {"aB": 1}}}],
        "function_declarations": [{"response": {"max_length": 1}}],
    }


def test_every_place_where_the_sdk_takes_free_words_is_known() -> None:
    """A new one in a newer SDK must be looked at: its keys would be put into snake_case."""
    steer_the_call = {"HttpOptions", "File", "FileStatus"}  # a File is replaced by its URI
    free = {(owner, field) for owner, field in free_places() if owner not in steer_the_call}

    unknown = {
        (owner, field)
        for owner, field in free
        if field not in WORDS and not any(isinstance(place, tuple) and place[1] == field for place in WORDS)
    }

    assert unknown == {
        ("GenerateContentConfig", "response_schema"),  # made into a Schema, all of whose free places are known
        ("Schema", "additional_properties"),  # true, false or another Schema
    } | (unknown & {("GenerateContentConfig", "tools")})  # early 2.x names the types of MCP there


def test_a_refused_field_is_named() -> None:
    with pytest.raises(InputError, match=r"routing_config parameter is (only|not) supported"):
        written({"routing_config": {"auto_mode": {"model_routing_preference": "BALANCED"}}})


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(InputError, match=r"'temprature' is not a field of google\.genai\.types\.GenerateContentConfig"):
        written({"temprature": 1})


def test_a_wrong_value_is_named_with_its_place() -> None:
    with pytest.raises(InputError, match=r"thinking_config\.thinking_budget: Input should be a valid integer"):
        written({"thinking_config": {"thinking_budget": "much"}})


def test_options_of_the_http_call_are_refused() -> None:
    with pytest.raises(InputError, match="http_options steers the SDK's own HTTP call"):
        written({"http_options": {"timeout": 5}})


def test_a_config_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="config cannot be sent"):
        written({"temperature": float("nan")})


@pytest.mark.parametrize("config", ["temperature=1", 3, ["a"]])
def test_a_config_of_another_type_is_refused(config: Any) -> None:
    with pytest.raises(InputError, match=r"config must be a dict or a google\.genai\.types\.GenerateContentConfig"):
        written(config)


def test_two_system_instructions_are_refused() -> None:
    with pytest.raises(InputError, match="two system instructions"):
        write_request(prompt="p", system_instruction="a", config={"systemInstruction": "b"})


def test_what_the_user_gave_is_not_changed() -> None:
    schema = {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}, "$defs": {"B": {"type": "string"}}}
    config = {"response_schema": schema}

    written(config)

    assert schema["properties"] == {"b": {"$ref": "#/$defs/B"}}
    assert list(config) == ["response_schema"]


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_either_http_library_will_do(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library)
    if library == "httpx2" and genai.__version__.startswith("2."):
        pytest.skip("google-genai 2 takes httpx alone")
    monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", library)

    assert written({"temperature": 0.5})["generation_config"] == {"temperature": 0.5}


def test_an_environment_set_up_for_vertex_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_API_KEY", "another")

    assert written({"temperature": 0.5})["generation_config"] == {"temperature": 0.5}


def free_places() -> set[tuple[str, str]]:
    """(type, field) of all dicts and untyped values that a request can hold."""
    seen: set[type] = set()
    found: set[tuple[str, str]] = set()

    def walk(annotation: Any, owner: str, field: str) -> None:
        origin = typing.get_origin(annotation)
        if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
            if annotation not in seen:
                seen.add(annotation)
                for name, info in annotation.model_fields.items():
                    walk(info.annotation, annotation.__name__, name)
        elif annotation is typing.Any or annotation is dict or origin is dict:
            found.add((owner, field))
        for argument in arguments(annotation):
            walk(argument, owner, field)

    for root in (types.GenerateContentConfig, types.Tool, types.Content):
        walk(root, "", "")
    return found


def arguments(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, python_types.UnionType) or typing.get_origin(annotation) is not None:
        yield from (argument for argument in typing.get_args(annotation) if not isinstance(argument, str))
