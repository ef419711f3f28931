"""A placeholder in any text of a config is filled or refused, and never sent as it stands."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pydantic
import pytest
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoded import InvalidRow
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.request.named_columns import columns_named
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RequestSpec

ROWS = {"text": ["a", "b"], "lang": ["French", "${x} {{ y }}"]}


def requests(spec: RequestSpec, **more: Any) -> list[Any]:
    batch = pa.record_batch({**ROWS, **more})
    encoder = compile_request(spec, batch.schema, "m")
    made = encoder.encode(batch.select(encoder.columns)).rows()
    return [row.message if isinstance(row, InvalidRow) else json.loads(row) for row in made]


def system_texts(request: Any) -> list[str]:
    return [part["text"] for part in request["system_instruction"]["parts"]]


FORMS = [
    lambda text: text,
    lambda text: [text],
    lambda text: {"parts": [{"text": text}]},
    lambda text: types.Part(text=text),
    lambda text: types.Content(parts=[types.Part(text=text)]),
]
forms = pytest.mark.parametrize("form", FORMS)


@forms
@pytest.mark.parametrize("name", ["system_instruction", "systemInstruction"])
def test_a_system_instruction_is_filled_wherever_it_is_given(form: Any, name: str) -> None:
    spec = GenerateRequest(prompt="${text}", config={name: form("In ${lang}, for $$5: $text")})

    first, second = requests(spec)

    assert system_texts(first) == ["In French, for $5: a"]
    assert system_texts(second) == ["In ${x} {{ y }}, for $5: b"]
    assert columns_named(spec) == ["text", "lang"]


@forms
def test_a_config_as_an_object_is_filled_too(form: Any) -> None:
    spec = GenerateRequest(prompt="${text}", config=types.GenerateContentConfig(system_instruction=form("In ${lang}")))

    assert system_texts(requests(spec)[0]) == ["In French"]
    assert columns_named(spec) == ["text", "lang"]


@forms
def test_a_system_instruction_that_names_no_column_is_an_error(form: Any) -> None:
    with pytest.raises(InputError, match=r"config\.system_instruction names a column that the source does not have: 'lnag'"):
        requests(GenerateRequest(prompt="${text}", config={"system_instruction": form("In ${lnag}")}))


def test_another_system_instruction_is_another_request() -> None:
    schema = pa.record_batch(ROWS).schema
    one, other = (
        compile_request(GenerateRequest(prompt="x", config={"system_instruction": text}), schema, "m").spec
        for text in ("In ${lang}", "About ${lang}")
    )

    assert one != other


class Answer(pydantic.BaseModel):
    colour: str = pydantic.Field(description="In ${lang}")


FUNCTION = {"name": "f", "description": "fine"}
#: Requests with a text in every place but a system instruction, and the place as it is named.
ELSEWHERE: list[tuple[Any, str]] = [
    (lambda text: {"config": {"stop_sequences": ["x", text]}}, "config.stop_sequences[1]"),
    (lambda text: {"config": {"tools": [{"function_declarations": [{**FUNCTION, "description": text}]}]}},
     "config.tools[0].function_declarations[0].description"),
    (lambda text: {"config": {"tools": [{"function_declarations": [{**FUNCTION, "parameters": {"type": "OBJECT",
        "properties": {"a": {"type": "STRING", "enum": [text]}}}}]}]}},
     "config.tools[0].function_declarations[0].parameters.properties.a.enum[0]"),
    (lambda text: {"config": {"tools": [{"function_declarations": [{**FUNCTION, "parameters_json_schema": {"title": text}}]}]}},
     "config.tools[0].function_declarations[0].parameters_json_schema.title"),
    (lambda text: {"config": {"response_schema": {"type": "STRING", "description": text}}}, "config.response_schema.description"),
    (lambda text: {"config": {"response_json_schema": {"description": text}}}, "config.response_json_schema.description"),
    (lambda text: {"config": {"response_json_schema": {"properties": {text: {}}}}},
     "config.response_json_schema.properties.(name)"),
    (lambda text: {"config": {"cached_content": f"cachedContents/{text}"}}, "config.cached_content"),
    (lambda text: {"config": {"speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": text}}}}},
     "config.speech_config.voice_config.prebuilt_voice_config.voice_name"),
    (lambda text: {"response_schema": {"type": "object", "properties": {"a": {"type": "string", "description": text}}}},
     "response_schema.properties.a.description"),
    (lambda text: {"response_schema": json.dumps({"type": "object", "description": text, "properties": {}})},
     "response_schema.description"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "place"), ELSEWHERE, ids=[place for _, place in ELSEWHERE])
def test_a_placeholder_in_any_other_text_is_refused_by_its_place(given: Any, place: str) -> None:
    with pytest.raises(InputError) as raised:
        requests(GenerateRequest(prompt="${text}", **given("In ${lang}")))

    assert f"{place} holds the placeholder '${{lang}}', which is not filled there" in str(raised.value)


@pytest.mark.parametrize(("given", "place"), ELSEWHERE, ids=[place for _, place in ELSEWHERE])
def test_other_dollars_are_sent_as_they_are_there(given: Any, place: str) -> None:
    [written, _] = requests(GenerateRequest(prompt="${text}", **given("$5 $lang $$ ^x$ $${lang}")))

    assert "$5 $lang $$ ^x$ ${lang}" in json.dumps(written)


def test_a_placeholder_in_the_description_of_a_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"response_schema\.properties\.colour\.description holds the placeholder"):
        requests(GenerateRequest(prompt="${text}", response_schema=Answer))


def test_what_is_validated_is_what_was_sent() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "enum": ["$${x}"]}}}

    encoder = compile_request(GenerateRequest(prompt="x", response_schema=schema), pa.schema([]), "m")

    assert encoder.spec["response_schema"]["properties"]["a"]["enum"] == ["${x}"]
    assert encoder.spec["request"]["generation_config"]["response_json_schema"]["properties"]["a"]["enum"] == ["${x}"]


def test_references_within_a_schema_stay() -> None:
    schema = {"$defs": {"A": {"type": "string"}}, "type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}

    [written, _] = requests(GenerateRequest(prompt="${text}", response_schema=schema))

    assert written["generation_config"]["response_json_schema"] == schema


def test_an_embed_config_is_filled_in_its_title_and_nowhere_else() -> None:
    spec = EmbedRequest(text="${text}", config={"title": "${lang}", "output_dimensionality": 8})
    assert "French" in json.dumps(requests(spec)[0])
    assert columns_named(spec) == ["text", "lang"]

    with pytest.raises(InputError, match=r"config\.task_type holds the placeholder '\$\{lang\}'"):
        requests(EmbedRequest(text="${text}", config={"task_type": "${lang}", "output_dimensionality": 8}))


# --- a row's own config


@pytest.mark.parametrize("form", FORMS[:3])
def test_no_placeholder_is_filled_in_a_rows_own_config(form: Any) -> None:
    own = [json.dumps({"system_instruction": form(text)}) for text in ("In ${lang}", "costs $5 $lang $$ $${lang} {{ ds }}")]

    refused, sent = requests(
        GenerateRequest(prompt="${text}", config={"system_instruction": "For ${lang}"}, config_column="own"), own=own
    )

    assert "config_column 'own' cannot be used: the row's system_instruction" in refused
    assert "holds the placeholder '${lang}'" in refused
    assert system_texts(sent) == ["costs $5 $lang $$ ${lang} {{ ds }}"]


def test_other_texts_of_a_rows_own_config_are_refused_likewise() -> None:
    own = [json.dumps({"stopSequences": [text]}) for text in ("${lang}", "$lang $${lang} $$")]

    refused, sent = requests(GenerateRequest(prompt="${text}", config_column="own"), own=own)

    assert "the row's stopSequences[0] holds the placeholder" in refused
    assert sent["generation_config"]["stop_sequences"] == ["$lang ${lang} $$"]


def test_the_runs_system_instruction_is_filled_for_rows_with_their_own_config() -> None:
    spec = GenerateRequest(prompt="${text}", config={"system_instruction": "For ${lang}"}, config_column="own")

    first, _ = requests(spec, own=['{"temperature": 1}', None])

    assert system_texts(first) == ["For French"]
