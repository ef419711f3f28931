"""A row's own config goes over the run's, field by field; one that cannot be used costs its own row."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoded import InvalidRow
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.specs import GenerateRequest


def encode(configs: pa.Array, **request: Any) -> list[Any]:
    """What each row's request is besides its contents, or why there is none."""
    table = pa.RecordBatch.from_arrays([pa.array([f"t{row}" for row in range(len(configs))]), configs], names=["text", "cfg"])
    encoder = compile_request(GenerateRequest(prompt="${text}", config_column="cfg", **request), table.schema, "m")
    rows: list[Any] = []
    for row, content in enumerate(encoder.encode(table.select(encoder.columns)).rows()):
        if isinstance(content, InvalidRow):
            rows.append(content.message)
        else:
            asked = json.loads(content)
            [part] = asked.pop("contents")[0]["parts"]
            assert part == {"text": f"t{row}"}
            rows.append(asked)
    return rows


def test_each_row_gets_its_own_fields_over_the_runs() -> None:
    configs = pa.array(['{"temperature": 1}', "null", '{"maxOutputTokens": 7, "top_p": null}', "{}", '{"temperature": 1}'])

    run = {"temperature": 0.5, "thinking_config": {"thinking_budget": 3}}
    assert encode(configs, config=run) == [
        {"generation_config": {"temperature": temperature, "thinking_config": {"thinking_budget": 3}, **more}}
        for temperature, more in ((1, {}), (0.5, {}), (0.5, {"max_output_tokens": 7}), (0.5, {}), (1, {}))
    ]


def test_a_struct_column_sets_what_is_not_null() -> None:
    configs = pa.array([{"temperature": 1.0, "seed": None}, {"temperature": None, "seed": 4}, None])

    assert encode(configs) == [{"generation_config": {"temperature": 1.0}}, {"generation_config": {"seed": 4}}, {}]


def test_a_field_is_replaced_whole() -> None:
    configs = pa.array(['{"tools": [{"url_context": {}}], "thinking_config": {"include_thoughts": true}}'])

    [asked] = encode(configs, config={"tools": [{"google_search": {}}], "thinking_config": {"thinking_budget": 3}})

    assert asked == {"tools": [{"url_context": {}}], "generation_config": {"thinking_config": {"include_thoughts": True}}}


@pytest.mark.filterwarnings("ignore:.*is not a valid")  # google-genai's own
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("no json", "it is not a JSON object"),
        ("[1]", "it is not a JSON object"),
        ('{"temprature": 1}', "'temprature' is not a field of google.genai.types.GenerateContentConfig"),
        ('{"temperature": "hot"}', "temperature"),
        ('{"http_options": {"timeout": 1}}', "config.http_options"),
        ('{"service_tier": 5}', "config is refused by google-genai"),
        ('{"response_schema": {"type": ["string", "null"]}}', "google-genai"),
        ('{"response_json_schema": ' + '{"a":' * 9000 + "1" + "}" * 9001, "too deeply"),
        ('{"cached_content": "cachedContents/1", "tools": [{"url_context": {}}]}', "together with tools"),
        ('{"seed": 4294967296}', "seed is 4294967296: google-genai"),
        ('{"thinking_config": {"thinking_level": "hihg"}}', "thinking_config.thinking_level is 'hihg': google-genai"),
        ('{"safety_settings": [{"category": "RAIN", "threshold": "OFF"}]}', "safety_settings.category is 'RAIN': google-genai"),
    ],
)
def test_a_config_that_cannot_be_used_costs_its_own_row(config: str, message: str) -> None:
    before, refused, after = encode(pa.array(['{"seed": 1}', config, '{"seed": 2}']))

    assert (before, after) == ({"generation_config": {"seed": 1}}, {"generation_config": {"seed": 2}})
    assert refused.startswith("config_column 'cfg' cannot be used: ")
    assert message in refused


def test_a_response_schema_holds_for_all_rows() -> None:
    first, second = encode(pa.array(['{"response_mime_type": "text/x.enum"}', '{"seed": 1}']), response_schema={"type": "string"})

    assert "which decides response_mime_type for all rows" in first
    assert second["generation_config"]["response_json_schema"] == {"type": "string"}


def test_the_column_need_not_be_used_by_the_prompt_nor_the_prompt_any_other() -> None:
    table = pa.RecordBatch.from_pydict({"cfg": ['{"seed": 1}', '{"seed": 2}']})
    encoder = compile_request(GenerateRequest(prompt="Say hi", config_column="cfg"), table.schema, "m")

    assert encoder.columns == ("cfg",)
    assert [json.loads(content)["generation_config"] for content in encoder.encode(table).rows()] == [{"seed": 1}, {"seed": 2}]
    assert encoder.spec["config_column"] == "cfg"


@pytest.mark.parametrize(
    ("column", "type", "message"),
    [
        ("cgf", pa.string(), "config_column names a column that the source does not have: 'cgf'"),
        ("cfg", pa.int64(), "expected a struct"),
        ("cfg", pa.struct([("a", pa.binary())]), "expected a struct"),
    ],
)
def test_what_cannot_work_is_said_up_front(column: str, type: pa.DataType, message: str) -> None:
    schema = pa.schema([("text", pa.string()), ("cfg", type)])

    with pytest.raises(InputError, match=message):
        compile_request(GenerateRequest(prompt="${text}", config_column=column), schema, "m")


def test_a_row_cannot_name_a_cache_where_the_run_has_a_system_instruction() -> None:
    first, second = encode(pa.array(['{"cached_content": "cachedContents/1"}', "{}"]), system_instruction="Be brief.")

    assert "together with system_instruction" in first
    assert "system_instruction" in second
