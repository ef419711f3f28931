"""Values generated for a schema satisfy it, and use the prompt's words."""

from __future__ import annotations

import datetime
import enum
from typing import Any, Literal

import jsonschema
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from airflow_gemini_batch.emulator.answers.structured import SchemaRefused, structured_value

PROMPT = "Describe this function:\n\nReturns the sorted list of open windows. The order is stable."


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    title: str = Field(min_length=3, max_length=40)
    weight: float = Field(ge=0, lt=1)
    count: int = Field(gt=10, le=20, multiple_of=5)


class Node(BaseModel):
    name: str
    children: list[Node] = Field(default_factory=list)
    parent: Node | None = None


class Everything(BaseModel):
    summary: str
    colour: Colour
    kind: Literal["function", "class"]
    lines: list[Line] = Field(min_length=2, max_length=3)
    when: datetime.date
    at: datetime.datetime
    maybe: int | None
    either: int | str
    tags: dict[str, int]
    pair: tuple[int, str]
    tree: Node
    flag: bool


@pytest.mark.parametrize("digest", range(20))
def test_a_pydantic_models_schema_is_satisfied(digest):
    Everything.model_validate(structured_value(Everything.model_json_schema(), PROMPT, digest))


def test_the_sdks_own_schema_form_is_satisfied():
    schema = types.Schema(
        type="OBJECT",
        properties={
            "name": types.Schema(type="STRING"),
            "grade": types.Schema(type="STRING", format="enum", enum=["a", "b"]),
            "points": types.Schema(type="ARRAY", items=types.Schema(type="INTEGER", minimum=3, maximum=4), min_items=2),
            "note": types.Schema(type="STRING", nullable=True),
        },
        required=["name", "grade", "points"],
        property_ordering=["points", "name", "grade", "note"],
    )

    for form in (schema.model_dump(exclude_none=True), schema.model_dump(exclude_none=True, by_alias=True)):
        value = structured_value(form, PROMPT, 5)

        assert list(value) == ["points", "name", "grade", "note"]
        assert value["grade"] in ("a", "b")
        assert len(value["points"]) >= 2
        assert set(value["points"]) <= {3, 4}


def test_texts_come_from_the_prompts_material():
    value = structured_value({"type": "object", "properties": {"summary": {"type": "string"}}}, PROMPT, 1)

    assert value == {"summary": "Returns the sorted list of open windows."}


def test_equal_requests_get_equal_values_and_other_requests_other_values():
    schema = Everything.model_json_schema()

    assert structured_value(schema, PROMPT, 1) == structured_value(schema, PROMPT, 1)
    assert structured_value(schema, PROMPT, 1) != structured_value(schema, PROMPT, 2)


def test_infinite_recursion_ends():
    value = structured_value(
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}}}, PROMPT, 1
    )

    assert value["a"]


@pytest.mark.parametrize(
    "pattern", ["^[a-z]+$", "^[A-Z]{3}$", r"^\d{4}$", "^[0-9]{3}-[0-9]{4}$", "^[0-9]{4}-[01][0-9]-[0-3][0-9]$"]
)
def test_common_patterns_are_matched(pattern):
    jsonschema.validate(
        structured_value({"type": "string", "pattern": pattern}, PROMPT, 1), {"type": "string", "pattern": pattern}
    )


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.integers(-1000, 1000)
    leaves = st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.builds(lambda low, width: {"type": "integer", "minimum": low, "maximum": low + width}, numbers, st.integers(0, 50)),
        st.builds(lambda low: {"type": "integer", "exclusiveMinimum": low}, numbers),
        st.builds(lambda high: {"type": "number", "maximum": high}, numbers),
        st.builds(lambda low, width: {"type": "string", "minLength": low, "maxLength": low + width}, *[st.integers(0, 30)] * 2),
        st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=5), min_size=1, unique=True)),
        st.builds(lambda kind: {"type": ["null", kind]}, st.sampled_from(["string", "integer", "boolean"])),
    )

    def inside(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        properties = st.dictionaries(st.text(max_size=6), inner, max_size=4)
        lengths = st.integers(0, 3).map(lambda low: {"minItems": low, "maxItems": low + 1})
        return st.one_of(
            st.builds(lambda items, length: {"type": "array", "items": items, **length}, inner, lengths),
            st.builds(lambda fields: {"type": "object", "properties": fields, "required": list(fields)}, properties),
            st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        )

    return st.recursive(leaves, inside, max_leaves=12)


@given(schemas(), st.text(max_size=60), st.integers(0, 2**64))
def test_any_schema_is_satisfied_for_any_prompt(schema, prompt, digest):
    jsonschema.validate(structured_value(schema, prompt, digest), schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "minItems": 10**9, "items": {"type": "string"}},
        {"type": "array", "minItems": 5000, "items": {"type": "array", "minItems": 5000, "items": {"type": "integer"}}},
        {"type": "string", "minLength": 10**9},
        {"type": "integer", "minimum": "low"},
        {"type": "string", "pattern": "("},
    ],
)
def test_a_schema_that_cannot_be_served_is_refused(schema):
    with pytest.raises(SchemaRefused):
        structured_value(schema, "Rain falls.", 1)


def test_unique_items_are_unique():
    schema = {"type": "array", "minItems": 200, "uniqueItems": True, "items": {"type": "integer", "maximum": 50}}

    made = structured_value(schema, "Rain falls.", 1)

    assert 1 < len(made) == len(set(made)) <= 100
