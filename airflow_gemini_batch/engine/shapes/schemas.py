"""A JSON Schema as an Arrow type, and JSON values as a column of that type.

Invariants: the type follows from the schema alone, so all parts of a run have the same one; and every value that is valid for the
schema (with integers limited to int64, see ``judged``) fits into it. What Arrow has no type for (unions, free-form objects,
recursion) becomes JSON text at that place, and only there.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec
import pyarrow as pa
import pydantic

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.errors import InputError

#: What ``judged`` limits every integer to.
INT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}
_json = msgspec.json.Encoder()


class Form(Protocol):
    """How the values at one place of the schema are stored in a column."""

    @property
    def type(self) -> pa.DataType: ...

    def build(self, values: Sequence[Any]) -> pa.Array:
        """The column; None becomes null."""
        ...


@dataclass(frozen=True, slots=True)
class Leaf:
    type: pa.DataType
    write: Callable[[Sequence[Any]], pa.Array]

    def build(self, values: Sequence[Any]) -> pa.Array:
        return self.write(values)


@dataclass(frozen=True, slots=True)
class Struct:
    fields: tuple[tuple[str, Form], ...]

    @property
    def type(self) -> pa.DataType:
        return pa.struct([pa.field(name, form.type) for name, form in self.fields])

    def build(self, values: Sequence[Any]) -> pa.Array:
        children = [form.build([None if value is None else value.get(name) for value in values]) for name, form in self.fields]
        return pa.Array.from_buffers(self.type, len(values), [columns.validity(values)], children=children)


@dataclass(frozen=True, slots=True)
class List:
    item: Form

    @property
    def type(self) -> pa.DataType:
        return pa.list_(self.item.type)

    def build(self, values: Sequence[Any]) -> pa.Array:
        items = self.item.build(list(itertools.chain.from_iterable(filter(None, values))))
        return pa.Array.from_buffers(self.type, len(values), [columns.validity(values), _offsets(values)], children=[items])


@dataclass(frozen=True, slots=True)
class Map:
    """An object whose member names are data."""

    value: Form

    @property
    def type(self) -> pa.DataType:
        return pa.map_(pa.string(), self.value.type)

    def build(self, values: Sequence[Any]) -> pa.Array:
        names = list(itertools.chain.from_iterable(filter(None, values)))
        inner = list(itertools.chain.from_iterable(value.values() for value in values if value))
        type = self.type
        fields = [type.key_field, type.item_field]
        entries = pa.StructArray.from_arrays([columns.strings(names), self.value.build(inner)], fields=fields)
        return pa.Array.from_buffers(type, len(values), [columns.validity(values), _offsets(values)], children=[entries])


def _offsets(values: Sequence[Any]) -> pa.Buffer:
    return pa.py_buffer(array("i", itertools.accumulate((len(value) if value else 0 for value in values), initial=0)))


# --- leaves ----------------------------------------------------------------------------------------------------------


def _integers(values: Sequence[Any]) -> pa.Array:
    try:
        return columns.int64s(values)
    except TypeError:  # 1.0 is an integer to JSON Schema
        return columns.int64s([None if value is None else int(value) for value in values])


def _json_texts(values: Sequence[Any]) -> pa.Array:
    return columns.utf8([None if value is None else _json.encode(value) for value in values])


def _dates(values: Sequence[Any]) -> pa.Array:
    return columns.dates([None if value is None else _date(value) for value in values])


def _times(values: Sequence[Any]) -> pa.Array:
    return columns.times([None if value is None else _time(value) for value in values])


_pydantic_date = pydantic.TypeAdapter(dt.date).validate_python
_pydantic_date_time = pydantic.TypeAdapter(dt.datetime).validate_python
_pydantic_time = pydantic.TypeAdapter(dt.time).validate_python

#: A number that can only be a Unix time: in seconds of the years 2001 to 2286, or in milliseconds. pydantic reads any number so,
#: and with it 20260101 as a day in 1970.
_UNIX_TIME = re.compile(r"[0-9]{10}(?:[0-9]{3})?(?:\.[0-9]+)?")
_NUMBER = re.compile(r"[-+]?[0-9_.]*")


def _require_time(text: str) -> None:
    if _NUMBER.fullmatch(text) and not _UNIX_TIME.fullmatch(text):
        raise ValueError(f"{text!r} is a number, not a time")


def _date(text: str) -> dt.date:
    """``2026-05-01``, or one of the forms that pydantic takes: a midnight, or its Unix time."""
    if len(text) == 10 and text[4] == text[7] == "-":
        return dt.date.fromisoformat(text)
    _require_time(text)
    return _pydantic_date(text)


def _time(text: str) -> dt.datetime:
    """In UTC, from RFC 3339 or one of the forms that pydantic takes: without seconds, a date alone, a Unix time.

    A time without an offset counts as UTC, because models often leave the offset out.
    """
    time: dt.datetime
    try:
        time = msgspec.convert(text, dt.datetime)
    except ValueError:
        _require_time(text)
        time = _pydantic_date_time(text)
    return time.astimezone(dt.timezone.utc) if time.tzinfo is not None else time.replace(tzinfo=dt.timezone.utc)


def is_date(text: str) -> bool:
    try:
        _date(text)
    except ValueError:
        return False
    return True


def is_date_time(text: str) -> bool:
    try:
        _time(text)
    except (ValueError, OverflowError):  # 0001-01-01 with a positive offset: a year that no reader can show
        return False
    return True


def is_time(text: str) -> bool:
    try:
        _pydantic_time(text)
    except ValueError:
        return False
    return ":" in text  # pydantic reads a number as seconds


#: Formats are validated as the columns read them, which is less strict than RFC 3339: a time may lack its offset or its seconds.
FORMATS: dict[str, Callable[[str], bool]] = {"date": is_date, "date-time": is_date_time, "time": is_time}

TEXT = Leaf(pa.string(), columns.strings)
JSON = Leaf(pa.string(), _json_texts)
INTEGER = Leaf(pa.int64(), _integers)
NUMBER = Leaf(pa.float64(), columns.doubles)
BOOLEAN = Leaf(pa.bool_(), columns.bools)
DATE = Leaf(pa.date32(), _dates)
TIME = Leaf(columns.TIMESTAMP, _times)

_BY_TYPE = {"string": TEXT, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN}
_BY_FORMAT = {"date": DATE, "date-time": TIME}
_BY_CLASS = {str: TEXT, int: INTEGER, float: NUMBER, bool: BOOLEAN}


# --- schema to form --------------------------------------------------------------------------------------------------


def form_of(schema: dict[str, Any]) -> Form:
    """The form of the whole answer. Raises InputError for a reference that does not resolve within the schema."""
    return _Reader(schema).form(schema, frozenset({"#"}))


@dataclass(frozen=True, slots=True)
class _Reader:
    root: dict[str, Any]

    def form(self, schema: Any, open_refs: frozenset[str]) -> Form:
        """:param open_refs: the references that led here; one that comes again is a recursion."""
        if not isinstance(schema, Mapping):
            return JSON
        reference = schema.get("$ref")
        if reference is not None:
            return JSON if reference in open_refs else self.form(target(self.root, reference), open_refs | {reference})
        if "const" in schema:
            return _form_of_values([schema["const"]], schema)
        if "enum" in schema:
            return _form_of_values(schema["enum"], schema)
        return self._form_of_type(schema, open_refs)

    def _form_of_type(self, schema: Mapping[str, Any], open_refs: frozenset[str]) -> Form:
        match [name for name in _as_list(schema.get("type")) if name != "null"]:
            case []:
                return self._alternatives(schema, open_refs)
            case ["object"]:
                return self._object(schema, open_refs)
            case ["array"]:
                item = schema.get("items")
                return JSON if "prefixItems" in schema or not isinstance(item, Mapping) else List(self.form(item, open_refs))
            case ["string"]:
                return _BY_FORMAT.get(schema.get("format", ""), TEXT)
            case types:
                return _common([_BY_TYPE.get(name, JSON) for name in types])

    def _alternatives(self, schema: Mapping[str, Any], open_refs: frozenset[str]) -> Form:
        """Without a type only the alternatives say what a value may be."""
        for alternatives in ("anyOf", "oneOf", "allOf"):
            if alternatives in schema and (alternatives != "allOf" or len(schema["allOf"]) == 1):
                options = [option for option in schema[alternatives] if option != {"type": "null"}]
                return _common([self.form(option, open_refs) for option in options])
        return JSON

    def _object(self, schema: Mapping[str, Any], open_refs: frozenset[str]) -> Form:
        if schema.get("properties"):
            return Struct(tuple((name, self.form(inner, open_refs)) for name, inner in schema["properties"].items()))
        by_pattern = list(schema.get("patternProperties", {}).values())
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping) and others and not by_pattern:
            return Map(self.form(others, open_refs))
        if len(by_pattern) == 1 and not others:
            return Map(self.form(by_pattern[0], open_refs))
        return JSON


def target(root: dict[str, Any], reference: Any) -> Any:
    """What a reference within the schema refers to. Raises InputError for one that leads elsewhere."""
    found: Any = root
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise InputError(
            f"response_schema refers to {reference!r}; it can refer only to places within the schema, such as '#/$defs/Name'."
        )
    for step in reference[2:].split("/") if len(reference) > 1 else ():
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            raise InputError(f"response_schema refers to {reference!r}, which has no {name!r} along its path.")
        found = found[name]
    return found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _form_of_values(values: Sequence[Any], schema: Mapping[str, Any]) -> Form:
    forms = [_BY_CLASS.get(value.__class__, JSON) for value in values if value is not None]
    common = _common(forms)
    # 2**64 in an enum does not fit int64
    return JSON if common is INTEGER and not all(value is None or columns.fits_int64(value) for value in values) else common


def _common(forms: Sequence[Form]) -> Form:
    """The form that holds the values of all of them unchanged."""
    if not forms:
        return JSON
    if all(form == forms[0] for form in forms):
        return forms[0]
    return NUMBER if all(form in (INTEGER, NUMBER) for form in forms) else JSON


# --- schema to schema ------------------------------------------------------------------------------------------------

_ONE_SCHEMA = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems",
               "unevaluatedProperties")  # fmt: skip
_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")


def judged(schema: Any) -> Any:
    """The schema that answers are validated against: every integer is limited to int64, the type of its column, and ``nullable``
    has the meaning that OpenAPI and Google's own Schema give it.
    """
    if not isinstance(schema, dict):
        return schema
    copied = dict(schema)
    for name, value in schema.items():
        if name in _ONE_SCHEMA:
            copied[name] = judged(value)
        elif name in _SCHEMAS_BY_NAME and isinstance(value, dict):
            copied[name] = {inner: judged(one) for inner, one in value.items()}
        elif name in _SCHEMAS and isinstance(value, list):
            copied[name] = [judged(one) for one in value]
    if "integer" in _as_list(schema.get("type")):
        copied["minimum"] = max(INT64["minimum"], schema.get("minimum", INT64["minimum"]))
        copied["maximum"] = min(INT64["maximum"], schema.get("maximum", INT64["maximum"]))
    if schema.get("nullable") is True and "type" in schema:
        copied["type"] = [*_as_list(schema["type"]), "null"]
        if "enum" in schema:
            copied["enum"] = [*schema["enum"], None]
    return copied
