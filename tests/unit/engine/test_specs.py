"""What the user writes is a value: it compares, pickles and keeps nothing but what was written."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pydantic
import pytest
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.response_schema import json_schema
from airflow_gemini_batch.engine.request.sdk_request import checked_config
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, Media, RawRequest, is_data, read_labels, request_of


@pytest.mark.parametrize(
    "request_", [GenerateRequest(prompt="${a}", system_instruction="b", config={"temperature": 0.1}), RawRequest(column="c")]
)
def test_a_request_survives_pickling(request_: GenerateRequest | RawRequest) -> None:
    assert pickle.loads(pickle.dumps(request_)) == request_  # noqa: S301


def test_arguments_have_names() -> None:
    with pytest.raises(TypeError):
        GenerateRequest("${a}")  # type: ignore[call-arg]


def test_the_raw_column_is_called_request_unless_said_otherwise() -> None:
    assert RawRequest().column == "request"


class City(pydantic.BaseModel):
    name: str
    size: int | None = None


@pytest.mark.parametrize(
    "request_",
    [
        GenerateRequest(prompt="{{ ds }} ${a}"),
        GenerateRequest(
            prompt="${a}",
            system_instruction="b",
            config={"temperature": 0.1, "stop_sequences": ["x"], "system_instruction": {"parts": [{"text": "y"}]}},
            config_column="c",
            response_schema={"type": "object"},
            media=("m", Media("n", mime_type="image/png", upload=["s3://x/"], required=False)),
        ),
        GenerateRequest(prompt="a", response_schema='{"type": "object"}'),
        EmbedRequest(text="${a}", config={"output_dimensionality": 8}),
        RawRequest(),
        RawRequest("c", format="openai-embeddings", dimensions=8),
    ],
    ids=str,
)
def test_a_request_survives_its_plain_form(request_: Any) -> None:
    form = json.loads(json.dumps(request_.serialize()))
    read = request_of(form)

    assert type(read) is type(request_)
    assert json.dumps(read.serialize()) == json.dumps(request_.serialize())
    assert read.deserialize(form, 0) == read
    assert (is_data(request_), is_data(read)) == (False, True)


@pytest.mark.parametrize(
    "config",
    [
        types.GenerateContentConfig(
            temperature=0.5,
            tools=[types.Tool(google_search=types.GoogleSearch())],
            safety_settings=[
                types.SafetySetting(
                    category=types.HarmCategory.HARM_CATEGORY_HARASSMENT, threshold=types.HarmBlockThreshold.BLOCK_NONE
                )
            ],
        ),
        types.GenerateContentConfig(
            system_instruction=types.Content(
                parts=[types.Part(inline_data=types.Blob(data=b"\xff\x00picture", mime_type="image/png"))]
            )
        ),
        {"thinking_config": types.ThinkingConfig(thinking_budget=0), "response_modalities": [types.Modality.TEXT]},
    ],
    ids=["objects", "bytes", "objects in a dict"],
)
def test_a_config_of_objects_means_the_same_in_the_plain_form(config: Any) -> None:
    form = json.loads(json.dumps(GenerateRequest(prompt="a", config=config).serialize()))

    read = request_of(form)

    assert isinstance(read, GenerateRequest)
    assert checked_config(read.config) == checked_config(config)


@pytest.mark.parametrize("schema", [City, list[City]])
def test_a_schema_that_is_a_class_becomes_the_schema_that_the_run_keeps(schema: Any) -> None:
    read = request_of(json.loads(json.dumps(GenerateRequest(prompt="a", response_schema=schema).serialize())))

    assert isinstance(read, GenerateRequest)
    assert json_schema(read.response_schema) == json_schema(schema)


def test_what_has_no_plain_form_still_has_a_name() -> None:
    def weather(city: str) -> str:
        return city

    request_ = GenerateRequest(prompt="a", config={"tools": [weather]}, response_schema=object())

    assert "weather" in json.dumps(request_.serialize())


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"prompt": "a"}, "dict of type None; expected one of 'generate', 'embed', 'raw'"),
        ({"type": ["raw"]}, "expected one of"),
        ({"type": "generates", "prompt": "a"}, "'generates'"),
        ({"type": "generate"}, "'prompt'.*Its fields: prompt, system_instruction"),
        ({"type": "embed", "text": "a", "prompt": "b"}, "'prompt'.*Its fields: text, config"),
        ({"type": "generate", "prompt": "a", "media": [{"columns": "b"}]}, "media"),
    ],
)
def test_a_dict_that_is_not_a_request_is_refused_by_name(form: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        request_of(form)


@pytest.mark.parametrize("labels", ["team", {"team": 3}, {3: "team"}, {"": "search"}, {"team": " "}, {"team": "a\nb"}, ["team"]])
def test_labels_are_texts(labels: Any) -> None:
    with pytest.raises(InputError, match=r"labels is .* expected a dict of texts"):
        read_labels(labels)


def test_no_labels_are_no_labels() -> None:
    assert read_labels(None) == read_labels({}) == {}
    assert read_labels({"team": "search"}) == {"team": "search"}
