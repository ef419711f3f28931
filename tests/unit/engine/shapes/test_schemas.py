"""A JSON Schema decides the column's type, and what satisfies the schema fits into the column."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any, Literal

import pyarrow as pa
import pydantic
import pytest

from airflow_gemini_batch.engine.arrow.columns import TIMESTAMP
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.shapes.schemas import form_of, judged


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Price(pydantic.BaseModel):
    amount: float
    currency: Literal["EUR", "USD"] = "EUR"


class Node(pydantic.BaseModel):
    value: int
    children: list[Node] = []


PRICE = pa.struct([("amount", pa.float64()), ("currency", pa.string())])
JSON_TEXT = pa.string()


@pytest.mark.parametrize(
    ("annotation", "type"),
    [
        (str, pa.string()),
        (int, pa.int64()),
        (float, pa.float64()),
        (bool, pa.bool_()),
        (dt.date, pa.date32()),
        (dt.datetime, TIMESTAMP),
        (dt.time, pa.string()),
        (uuid.UUID, pa.string()),
        (Colour, pa.string()),
        (Level, pa.int64()),
        (Literal["a", 1], JSON_TEXT),
        (int | None, pa.int64()),
        (Colour | None, pa.string()),
        (int | float, pa.float64()),
        (int | str, JSON_TEXT),
        (decimal.Decimal, JSON_TEXT),
        (Price | None, PRICE),
        (Price | Node, JSON_TEXT),
        (list[Price], pa.list_(PRICE)),
        (list[list[int]], pa.list_(pa.list_(pa.int64()))),
        (tuple[int, str], JSON_TEXT),
        (dict[str, float], pa.map_(pa.string(), pa.float64())),
        (dict[str, list[Price]], pa.map_(pa.string(), pa.list_(PRICE))),
        (dict[str, Any], JSON_TEXT),
        (Any, JSON_TEXT),
        (Node, pa.struct([("value", pa.int64()), ("children", pa.list_(JSON_TEXT))])),
    ],
    ids=str,
)
def test_the_type_of_what_pydantic_writes(annotation: Any, type: pa.DataType) -> None:
    assert form_of(pydantic.TypeAdapter(annotation).json_schema()).type == type


@pytest.mark.parametrize(
    ("schema", "type"),
    [
        ({}, JSON_TEXT),
        ({"type": "object"}, JSON_TEXT),
        ({"type": "object", "properties": {}}, JSON_TEXT),
        ({"properties": {"a": {"type": "string"}}}, JSON_TEXT),  # without a type 5 satisfies it too
        ({"type": ["integer", "null"]}, pa.int64()),
        ({"type": ["integer", "string"]}, JSON_TEXT),
        ({"type": "array"}, JSON_TEXT),
        ({"const": True}, pa.bool_()),
        ({"enum": ["a", None]}, pa.string()),
        ({"enum": [1, 2.5]}, pa.float64()),
        ({"enum": [2**64]}, JSON_TEXT),
        ({"type": "string", "anyOf": [{"minLength": 1}, {"pattern": "x"}]}, pa.string()),
        ({"allOf": [{"type": "integer"}]}, pa.int64()),
        ({"oneOf": [{"type": "integer"}, {"type": "null"}]}, pa.int64()),
        ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}}, pa.map_(pa.string(), pa.int64())),
        ({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "number"}}}, pa.float64()),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, JSON_TEXT),
        ({"type": "object", "properties": {"me": {"$ref": "#"}}}, pa.struct([("me", JSON_TEXT)])),
    ],
    ids=str,
)
def test_the_type_of_what_people_write(schema: dict[str, Any], type: pa.DataType) -> None:
    assert form_of(schema).type == type


@pytest.mark.parametrize("reference", ["http://example.com/schema", "other.json#/a", "#/$defs/nope", "#anchor", 7])
def test_a_reference_out_of_the_schema_is_refused(reference: Any) -> None:
    with pytest.raises(InputError, match="refers to"):
        form_of({"type": "object", "properties": {"a": {"$ref": reference}}})


@pytest.mark.parametrize(
    ("schema", "values", "expected"),
    [
        ({"type": "integer"}, [1, 1.0, None, -(2**63)], [1, 1, None, -(2**63)]),
        ({"type": "number"}, [1, 2.5, None], [1.0, 2.5, None]),
        ({"type": "boolean"}, [True, None, False], [True, None, False]),
        ({}, [{"a": [1, None]}, "text", None], ['{"a":[1,null]}', '"text"', None]),
        ({"type": "array", "items": {"type": "integer"}}, [[1, None], [], None, [2]], [[1, None], [], None, [2]]),
        (
            {"type": "object", "additionalProperties": {"type": "boolean"}},
            [{"a": True, "b": None}, None, {}],
            [[("a", True), ("b", None)], None, []],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}},
            [{"b": 1, "other": 2}, None, {"a": "x"}],
            [{"a": None, "b": 1}, None, {"a": "x", "b": None}],
        ),
        (
            {"type": "string", "format": "date"},
            ["2026-02-28", None, "0001-01-01"],
            [dt.date(2026, 2, 28), None, dt.date(1, 1, 1)],
        ),
    ],
)
def test_values_come_back_as_they_went_in(schema: dict[str, Any], values: list[Any], expected: list[Any]) -> None:
    array = form_of(schema).build(values)

    array.validate(full=True)
    assert array.to_pylist() == expected


def test_a_time_is_kept_in_utc_and_counts_as_utc_without_an_offset() -> None:
    times = ["2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02T05:04:05.5+02:00"]

    array = form_of({"type": "string", "format": "date-time"}).build(times)

    noted = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)
    assert array.to_pylist() == [noted, noted, noted.replace(microsecond=500_000)]


def test_integers_are_held_to_what_their_column_holds_and_nothing_else_is_changed() -> None:
    schema = {
        "type": "object",
        "properties": {"type": {"type": ["integer", "null"]}, "n": {"type": "integer", "minimum": 3, "maximum": 2**70}},
        "enum": [{"type": "integer"}],
        "items": {"anyOf": [{"type": "integer"}, {"type": "number"}]},
    }

    limits = {"minimum": -(2**63), "maximum": 2**63 - 1}
    assert judged(schema) == {
        "type": "object",
        "properties": {"type": {"type": ["integer", "null"], **limits}, "n": {"type": "integer", **limits, "minimum": 3}},
        "enum": [{"type": "integer"}],
        "items": {"anyOf": [{"type": "integer", **limits}, {"type": "number"}]},
    }
