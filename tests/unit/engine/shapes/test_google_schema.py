"""Google's form of a JSON Schema says the same to the model, or the schema is refused by name."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import re
import uuid
from typing import Annotated, Any, Literal

import pydantic
import pytest
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.sdk_request import write_request
from airflow_gemini_batch.engine.shapes.google_schema import google_schema

TEXT, WHOLE = {"type": "STRING"}, {"type": "INTEGER"}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Price(pydantic.BaseModel):
    """What it costs."""

    amount: float = pydantic.Field(gt=0, description="In full.")
    currency: Literal["EUR", "USD"] = "EUR"


class Product(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    reason: str
    colour: Colour | None = None
    price: Price | None = pydantic.Field(None, description="The last one.")
    parts: list[Price] = pydantic.Field([], max_length=3)
    kind: Literal["a"] = "a"


def of(annotation: Any) -> dict[str, Any]:
    return google_schema(pydantic.TypeAdapter(annotation).json_schema())


PRICE = {
    "title": "Price",
    "description": "What it costs.",
    "type": "OBJECT",
    "properties": {
        "amount": {"title": "Amount", "description": "In full.", "type": "NUMBER", "minimum": 0.0},
        "currency": {"title": "Currency", "type": "STRING", "format": "enum", "enum": ["EUR", "USD"]},
    },
    "property_ordering": ["amount", "currency"],
    "required": ["amount"],
}


def test_a_model_is_written_with_its_references_in_place() -> None:
    schema = {**Product.model_json_schema(), "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "x"}

    assert google_schema(schema) == {
        "title": "Product",
        "type": "OBJECT",
        "properties": {
            "reason": {"title": "Reason", **TEXT},
            "colour": {"title": "Colour", "type": "STRING", "format": "enum", "enum": ["red", "blue"], "nullable": True},
            "price": {**PRICE, "description": "The last one.", "nullable": True},
            "parts": {"title": "Parts", "type": "ARRAY", "max_items": 3, "items": PRICE},
            "kind": {"title": "Kind", "type": "STRING", "format": "enum", "enum": ["a"]},
        },
        "property_ordering": ["reason", "colour", "price", "parts", "kind"],
        "required": ["reason"],
    }


@pytest.mark.parametrize(
    ("annotation", "written"),
    [
        (str, TEXT),
        (int, WHOLE),
        (float, {"type": "NUMBER"}),
        (bool, {"type": "BOOLEAN"}),
        (None, {"type": "NULL"}),
        (list[int], {"type": "ARRAY", "items": WHOLE}),
        (int | None, {**WHOLE, "nullable": True}),
        (int | str, {"any_of": [WHOLE, TEXT]}),
        (int | str | None, {"any_of": [WHOLE, TEXT], "nullable": True}),
        (list[int | None], {"type": "ARRAY", "items": {**WHOLE, "nullable": True}}),
        (Literal["a", None], {"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True}),
        (Annotated[int, pydantic.Field(gt=0, lt=10)], {**WHOLE, "minimum": 1, "maximum": 9}),
        (Annotated[float, pydantic.Field(gt=0, lt=10)], {"type": "NUMBER", "minimum": 0.0, "maximum": 10.0}),
        (Annotated[str, pydantic.Field(min_length=1, max_length=2, pattern="^a")],
         {**TEXT, "min_length": 1, "max_length": 2, "pattern": "^a"}),
        (dt.datetime, {**TEXT, "format": "date-time"}),
        (dt.timedelta, {**TEXT, "description": "Format: duration."}),
        (Annotated[dt.timedelta, pydantic.Field(description="Long.")], {**TEXT, "description": "Long. Format: duration."}),
    ],
)  # fmt: skip
def test_each_kind_of_value(annotation: Any, written: dict[str, Any]) -> None:
    assert of(annotation) == written


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        (dt.date, "2026-12-31", ["2026-13-01", "31.12.2026", "2026-12-31T00:00:00"]),
        (dt.time, "23:59:59.5+02:00", ["24:00:00", "noon"]),
        (uuid.UUID, "8db2426a-b8db-4eb4-83e6-15b892455048", ["a uuid"]),
    ],
)
def test_a_format_that_the_service_does_not_take_is_a_pattern(format: Any, good: str, bad: list[str]) -> None:
    written = of(format)

    assert "format" not in written
    assert written["description"].startswith("Format: ")
    assert re.match(written["pattern"], good)
    assert not any(re.match(written["pattern"], text) for text in bad)
    assert google_schema({"type": "string", "format": "date", "pattern": "^2"})["pattern"] == "^2"


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string", "nullable": True}, {**TEXT, "nullable": True}),
        ({"type": ["string", "null"], "minLength": 1}, {**TEXT, "min_length": 1, "nullable": True}),
        ({"type": ["array", "string", "null"], "items": {"type": "integer"}, "minLength": 2, "title": "T"},
         {"title": "T", "any_of": [{"type": "ARRAY", "items": WHOLE}, {**TEXT, "min_length": 2}], "nullable": True}),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}], "discriminator": {"propertyName": "x"}}, {"any_of": [TEXT, WHOLE]}),
        ({"allOf": [{"type": "string", "description": "a"}], "description": "b"}, {**TEXT, "description": "b"}),
        ({"properties": {"a": True}}, {"type": "OBJECT", "properties": {"a": {}}, "property_ordering": ["a"]}),
        ({"items": {"type": "integer"}}, {"type": "ARRAY", "items": WHOLE}),
        ({"type": "object", "additionalProperties": False, "required": ["a"]}, {"type": "OBJECT"}),
        ({"type": "integer", "minimum": 5, "exclusiveMinimum": 1, "format": "int32"}, {**WHOLE, "minimum": 5, "format": "int32"}),
        ({"type": "array", "uniqueItems": False}, {"type": "ARRAY"}),
        ({"type": "string", "default": "a", "examples": ["b"], "x-mine": 1}, TEXT),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, TEXT),
        ({"type": "object", "properties": {"maxItems": {"type": "string"}, "not": {"type": "integer"}}},
         {"type": "OBJECT", "properties": {"maxItems": TEXT, "not": WHOLE}, "property_ordering": ["maxItems", "not"]}),
    ],
)  # fmt: skip
def test_each_form_of_json_schema(schema: dict[str, Any], written: dict[str, Any]) -> None:
    assert google_schema(schema) == written


class Node(pydantic.BaseModel):
    children: list[Node] = []


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (Node.model_json_schema(), r"recursive reference '#/\$defs/Node' at \$\.children\[\]"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "$defs": {}}, "recursive|'properties' beside"),
        ({"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}, "recursive reference"),
        ({"enum": [1, 2]}, r"the value 1 in 'enum' or 'const', which is not text, at \$"),
        ({"enum": ["a", True]}, "the value true"),
        ({"const": 7}, "the value 7"),
        ({"type": "array", "items": {"type": "integer", "multipleOf": 5}}, r"'multipleOf' at \$\[\]"),
        ({"properties": {"a": {"not": {"type": "string"}}}}, r"'not' at \$\.a"),
        ({"if": {"type": "string"}}, "'if'"),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, "'prefixItems'"),
        ({"type": "object", "patternProperties": {"^a": {"type": "string"}}}, "'patternProperties'"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "'additionalProperties' with a schema"),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, "'allOf' of several"),
        ({"anyOf": [{"type": "string"}], "oneOf": [{"type": "string"}]}, "two unions"),
        ({"anyOf": [{"type": "string"}, False]}, r"false at \$\.anyOf\[1\]"),
        ({"$ref": "#/$defs/A", "minimum": 2, "$defs": {"A": {"type": "integer", "minimum": 1}}}, r"'minimum' beside '\$ref'"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name_and_place(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        google_schema(schema)

    assert "schema_field='response_json_schema'" in str(refused.value)


def test_references_that_multiply_are_bounded() -> None:
    defs = {f"D{n}": {"properties": {side: {"$ref": f"#/$defs/D{n + 1}"} for side in "ab"}} for n in range(60)}

    with pytest.raises(InputError, match="more than 10,000 parts"):
        google_schema({"$ref": "#/$defs/D0", "$defs": {**defs, "D60": {"type": "string"}}})


@pytest.mark.parametrize("annotation", [Product, list[Product], Colour, int | str | None, decimal.Decimal, dt.date])
def test_google_genai_takes_what_is_written_and_writes_the_same(annotation: Any) -> None:
    written = of(annotation)

    types.Schema.model_validate(written)
    request = write_request(prompt="x", system_instruction=None, config={"response_schema": json.loads(json.dumps(written))})
    assert request["generation_config"]["response_schema"] == written
