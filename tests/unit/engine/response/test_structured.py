"""Answers that satisfy the schema are typed, the others are told where they fail; nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.response.structured import ParsedColumn
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.specs import GenerateRequest, RawRequest
from tests.unit.engine.shard_files import answer, ask_anew, error, receive, rows_of, run_at, write_shard


class Item(pydantic.BaseModel):
    name: str
    price: float | None = None


class Order(pydantic.BaseModel):
    id: int = pydantic.Field(ge=0)
    items: list[Item] = []


ORDER = Order.model_json_schema()
GOOD = '{"id": 1, "items": [{"name": "pen", "price": 2}]}'
PARSED = {"id": 1, "items": [{"name": "pen", "price": 2.0}]}


def read(texts: list[str | None], schema: dict[str, Any] = ORDER, **options: Any) -> tuple[list[Any], dict[int, str]]:
    array, problems = ParsedColumn(schema, **options).read([Answer("k", b"{}", text) for text in texts])
    array.validate(full=True)
    return array.to_pylist(), problems


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n {GOOD}\n",
        json.dumps(json.loads(GOOD), indent=2),
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\n",
        f"  ```JSON\r\n{GOOD}\r\n```",
        '{"id": 1.0, "items": [{"name": "pen", "price": 2, "colour": "red"}]}',
    ],
)
def test_a_valid_answer_is_typed_however_it_is_wrapped(text: str) -> None:
    assert read([text]) == ([PARSED], {})


def test_raw_line_breaks_and_lone_surrogates_in_strings_are_read() -> None:
    parsed, problems = read(['{"id":1,"items":[{"name":"a\nb"}]}', '{"id":2,"items":[{"name":"a\\ud800b"}]}'])

    assert [row["items"][0]["name"] for row in parsed] == ["a\nb", "a\ufffdb"]
    assert problems == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the answer holds no text, so no JSON"),
        ("Sure! Here it is", "the answer is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (GOOD[:-1], "the answer is not JSON: Expecting ',' delimiter: line 1 column 49 (char 48)"),
        (f"{GOOD} {GOOD}", "the answer is not JSON: Extra data"),
        ('{"id": NaN}', "the answer is not JSON: NaN is not a JSON number"),
        ('{"id": 1e400}', "the answer is not JSON: Out of range float values are not JSON compliant"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", 'not valid for the response schema: $: [] is not of type "object"'),
        ('{"id": "1"}', '$.id: "1" is not of type "integer"'),
        ('{"id": -1}', "$.id: -1 is less than the minimum of 0"),
        ('{"id": 1, "items": [{"name": "a"}, {}]}', '$.items[1]: "name" is a required property'),
        ('{"id": 9223372036854775808}', "$.id: 9223372036854775808 is greater than the maximum of 9223372036854775807"),
        ('{"id": 1' + "0" * 5000 + "}", ""),
    ],
)  # fmt: skip
def test_an_invalid_answer_is_told_with_its_place(text: str | None, message: str) -> None:
    parsed, problems = read([GOOD, text, GOOD])

    assert parsed == [PARSED, None, PARSED]
    assert list(problems) == [1]
    assert message in problems[1]
    assert len(problems[1]) < 1500


OPTIONAL_PART = {
    "type": "object",
    "properties": {"part": {"anyOf": [{"type": "object", "properties": {"n": {"type": "integer"}}}, {"type": "null"}]}},
}
ONE_OF_TWO = {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "text", "message"),
    [
        (OPTIONAL_PART, '{"part": {"n": "x"}}', '$.part.n: "x" is not of type "integer"'),
        (OPTIONAL_PART, '{"part": 5}', '$.part: 5 is not of type "object"'),
        (ONE_OF_TWO, "[]", "$: [] is not valid under any of the schemas listed in the 'anyOf' keyword"),
    ],
)
def test_what_may_be_null_is_told_with_its_own_place(schema: dict[str, Any], text: str, message: str) -> None:
    assert read([text], schema)[1] == {0: f"not valid for the response schema: {message}"}


def test_nullable_means_what_its_authors_mean() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "nullable": True}, "c": {"type": "string", "enum": ["a"], "nullable": True}},
    }

    assert read(['{"n": null, "c": null}', '{"n": 1, "c": "a"}'], schema) == ([{"n": None, "c": None}, {"n": 1, "c": "a"}], {})


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
def test_a_time_that_no_reader_can_show_is_not_valid(text: str) -> None:
    assert list(read([json.dumps(text)], {"type": "string", "format": "date-time"})[1]) == [0]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"enum": 5}, r"can be used: \$\.enum: 5 is not of type \"array\""),
        ({"type": "object", "properties": [1]}, r"can be used: \$\.properties"),
        ({"type": "object", "patternProperties": 5}, r"can be used: \$\.patternProperties"),
        ({"anyOf": 5}, r"can be used: \$\.anyOf"),
        ({"type": {"a": 1}}, r"can be used: \$\.type"),
        ({"type": "integer", "minimum": "x"}, r"can be used: \$\.minimum"),
        ({"type": "OBJECT"}, r"can be used: .* JSON Schema writes types in lower case"),
        ({"$schema": "https://example.com/own"}, r"can be used: \$: Unknown meta-schema"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ParsedColumn(schema)


def test_many_findings_are_cut_short() -> None:
    [problem] = read([json.dumps({"id": 1, "items": [{}] * 50})])[1].values()

    assert problem.count("required") == 3
    assert problem.endswith("and more")


def test_what_is_valid_and_fits_no_column_costs_its_own_row() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "number"}}}

    parsed, problems = read(['{"x": 1}', '{"x": 1' + "0" * 400 + "}", '{"x": 2}'], schema)

    assert parsed == [{"x": 1.0}, None, {"x": 2.0}]
    assert list(problems) == [1]


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        ("date", "2026-02-28", "2026-02-30"),
        ("date", "2026-02-28", "20260228"),
        ("date-time", "2026-02-28T01:02:03", "yesterday"),
        ("time", "01:02:03", "25:00:00"),
        ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7"),
        ("email", "a@example.com", "a at example.com"),
    ],
)
def test_formats_are_checked(format: str, good: str, bad: str) -> None:
    problems = read([json.dumps(good), json.dumps(bad)], {"type": "string", "format": format})[1]

    assert list(problems) == [1]
    assert f'is not a "{format}"' in problems[1]


def test_the_bare_word_of_an_enum_is_taken_as_it_is() -> None:
    schema = {"type": "string", "enum": ["red", "blue"]}

    assert read(["red", " blue\n", "green", None], schema, is_json=False)[0] == ["red", "blue", None, None]


def test_the_schema_of_raw_requests_makes_the_column() -> None:
    request = RawRequest("text", response_schema=Order)
    spec = compile_request(request, pa.schema([("text", pa.string())]), "m").spec

    array, problems = ParsedColumn.of(spec).read([Answer("k", b"{}", GOOD), Answer("k", b"{}", "no JSON")])

    assert spec == {"column": "text", "response_schema": ORDER}
    assert array.to_pylist() == [PARSED, None]
    assert list(problems) == [1]


def test_raw_requests_may_ask_for_the_bare_word_of_an_enum() -> None:
    column = ParsedColumn.of({"column": "text", "response_schema": {"type": "string", "enum": ["red", "blue"]}})

    array, problems = column.read([Answer("k", b"{}", text) for text in ("red", '"blue"', " red\n", "green", None)])

    assert array.to_pylist() == ["red", "blue", "red", None, None]
    assert list(problems) == [3, 4]


def test_text_that_is_not_json_is_not_the_value_of_a_string() -> None:
    column = ParsedColumn.of({"column": "text", "response_schema": {"type": "string"}})

    assert list(column.read([Answer("k", b"{}", "a"), Answer("k", b"{}", '"a"')])[1]) == [0]


wild_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "items", "name", "price"]), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(), wild_json.map(json.dumps), st.just(GOOD)), max_size=12))
def test_every_answer_is_typed_or_told_and_depends_on_no_other(texts: list[str | None]) -> None:
    parsed, problems = read(texts)

    for row, text in enumerate(texts):
        alone, problem = read([text])
        assert (alone, problem.get(0)) == ([parsed[row]], problems.get(row))
        assert (row in problems) or parsed[row] is not None


# --- the request side


def spec_of(request: GenerateRequest) -> dict[str, Any]:
    return compile_request(request, pa.schema([("text", pa.string())]), "m").spec


@pytest.mark.parametrize(
    ("schema", "type"),
    [
        (Order, "object"),
        (list[Order], "array"),
        (ORDER, "object"),
        (json.dumps(ORDER), "object"),
    ],
)
def test_the_request_asks_in_json_schema_and_the_manifest_keeps_it(schema: Any, type: str) -> None:
    spec = spec_of(GenerateRequest(prompt="${text}", response_schema=schema))

    config = spec["request"]["generation_config"]
    assert config["response_mime_type"] == "application/json"
    assert config["response_json_schema"] == spec["response_schema"]
    assert spec["response_schema"]["type"] == type
    assert ParsedColumn.of(spec).name == "parsed"


@pytest.mark.parametrize(
    ("schema", "config", "message"),
    [
        ({"type": "STRING"}, None, "JSON Schema writes types in lower case"),
        ({"$ref": "https://example.com/x"}, None, "is outside of the schema"),
        ({"type": "string", "pattern": "("}, None, "regex"),
        ({"enum": [float("nan")]}, None, "JSON"),
        ({"enum": [object()]}, None, "JSON"),
        ("Order", None, "pydantic model.* 'Order' is text and not JSON"),
        ('{"enum": [NaN]}', None, "is text and not JSON: NaN"),
        ("[1]", None, "JSON that is not an object"),
        ('{"type": "STRING"}', None, "JSON Schema writes types in lower case"),
        (Order, {"response_schema": {"type": "STRING"}}, "two response schemas"),
        (Order, {"response_mime_type": "text/plain"}, "response_mime_type"),
    ],
)
def test_a_schema_that_cannot_work_is_said_up_front(schema: Any, config: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spec_of(GenerateRequest(prompt="${text}", response_schema=schema, config=config))


# --- landing


@pytest.fixture
def run(tmp_path: Any) -> Run:
    return run_at(tmp_path, spec_of(GenerateRequest(prompt="${text}", response_schema=Order)))


def test_valid_answers_are_results_and_the_others_dead_letters(run: Run) -> None:
    keys = [f"k{number:02}" for number in range(20)]
    shard = write_shard(run, keys, block_rows=6)
    lines = {key: answer(key, GOOD.replace("1", str(int(key[1:])), 1)) for key in keys}
    lines |= {"k03": answer("k03", "no"), "k07": answer("k07", '{"id": "x"}'), "k09": error("k09", 13)}
    receive(run, shard, reversed(lines.values()))

    landed = land(run, shard, Ending(job="batches/j"))

    assert landed.reasons == {"INVALID_OUTPUT": 2, "REQUEST_ERROR": 1}
    results = rows_of(run.results_part(shard.id))
    assert {row["key"]: row["parsed"]["id"] for row in results} == {key: int(key[1:]) for key in keys if key not in "k03 k07 k09"}
    letters = {row["key"]: row for row in rows_of(run.dead_letter_part(shard.id))}
    assert letters["k07"]["message"] == 'not valid for the response schema: $.id: "x" is not of type "integer"'
    assert (letters["k07"]["status"], letters["k07"]["retryable"]) == ("STOP", False)
    assert letters["k07"]["request"] == '{"ask":"k07"}'
    assert json.loads(letters["k03"]["response"])["key"] == "k03"


def test_a_part_without_any_valid_answer_has_the_same_columns(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    receive(run, shard, [answer("a", "no"), answer("b", "no")])

    landed = land(run, shard, Ending(job="batches/j"))

    assert landed.reasons == {"INVALID_OUTPUT": 2}
    assert rows_of(run.results_part(shard.id)) == []


def test_another_request_adds_no_column(run: Run) -> None:
    ask_anew(run, spec_of(GenerateRequest(prompt="${text}")))
    shard = write_shard(run, ["a"])
    receive(run, shard, [answer("a", "no")])

    land(run, shard, Ending(job="batches/j"))

    assert "parsed" not in rows_of(run.results_part(shard.id))[0]
