"""Many structured answers at once: Arrow parses their texts into the ``parsed`` column, outside of Python's lock.

Two rules must not be relaxed:

a value is what ``ParsedColumn.read`` makes of the text alone, and
a text that might be refused there, or that Arrow might read differently, is left to it.

So only schemas are taken of which everything that they demand is checked here. A test holds both ways to the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.arrow.json_objects import read_objects
from airflow_gemini_batch.engine.shapes import schemas

#: Keywords that demand nothing, or nothing beside the form that is made of them.
_SILENT = {"title", "description", "default", "examples", "example", "nullable", "propertyOrdering", "$defs", "definitions",
           "$comment", "deprecated", "readOnly", "writeOnly"}  # fmt: skip
#: Keyword -> whether each value meets it.
_LIMITS: dict[str, Callable[[Any, Any], Any]] = {
    "minimum": np.greater_equal,
    "maximum": np.less_equal,
    "exclusiveMinimum": np.greater,
    "exclusiveMaximum": np.less,
    "minItems": np.greater_equal,
    "maxItems": np.less_equal,
}
#: Larger limits are not compared exactly with doubles.
_EXACT = 2**53

#: Raises for what is not JSON, with lone surrogates too, and makes no object of it.
_require_json = msgspec.json.Decoder(msgspec.Raw).decode


class _Check(Protocol):
    @property
    def type(self) -> pa.DataType: ...

    def good(self, column: pa.Array) -> Any:
        """Whether each value is surely valid, as bools; where it is null, anything."""
        ...


@dataclass(frozen=True, slots=True)
class _Nullable:
    """:param null: whether null is valid and means that nothing is there. Arrow does not tell it from a member that is absent."""

    check: _Check
    null: bool

    def good(self, column: pa.Array) -> Any:
        if column.null_count == 0:
            return self.check.good(column)
        is_valid = columns.is_valid(column)
        return np.where(is_valid, self.check.good(column), self.null)


@dataclass(frozen=True, slots=True)
class _Struct:
    members: tuple[tuple[str, _Nullable], ...]

    @property
    def type(self) -> pa.DataType:
        return pa.struct([(name, member.check.type) for name, member in self.members])

    def good(self, column: pa.Array) -> Any:
        good = np.ones(len(column), bool)
        for place, (_, member) in enumerate(self.members):
            good &= member.good(column.field(place))
        return good


@dataclass(frozen=True, slots=True)
class _List:
    item: _Nullable
    limits: Mapping[str, int]

    @property
    def type(self) -> pa.DataType:
        return pa.list_(self.item.check.type)

    def good(self, column: pa.Array) -> Any:
        offsets = np.frombuffer(column.offsets.buffers()[1], np.int32)[: len(column) + 1]
        bad = np.concatenate([[0], np.cumsum(~self.item.good(column.values))])
        return (bad[offsets[1:]] == bad[offsets[:-1]]) & _within(np.diff(offsets), self.limits)


@dataclass(frozen=True, slots=True)
class _Text:
    """:param words: all that it may be; None: anything."""

    words: pa.Array | None
    type = pa.string()

    def good(self, column: pa.Array) -> Any:
        if self.words is None:
            return np.ones(len(column), bool)
        return columns.bool_values(pc.is_in(column, value_set=self.words))


@dataclass(frozen=True, slots=True)
class _Number:
    type: pa.DataType
    limits: Mapping[str, float]

    def good(self, column: pa.Array) -> Any:
        kind = np.float64 if self.type == pa.float64() else np.int64
        values = np.frombuffer(column.buffers()[1] or b"", kind)[: len(column)]
        good = _within(values, self.limits)
        # Arrow reads 1e999 as an infinity, and the integer -0 as a negative zero.
        return good if kind is np.int64 else good & np.isfinite(values) & ~((values == 0) & np.signbit(values))


@dataclass(frozen=True, slots=True)
class _Boolean:
    type = pa.bool_()

    def good(self, column: pa.Array) -> Any:
        return np.ones(len(column), bool)


def _within(values: Any, limits: Mapping[str, float]) -> Any:
    good = np.ones(len(values), bool)
    for name, limit in limits.items():
        good &= _LIMITS[name](values, limit)
    return good


# --- a batch of texts ------------------------------------------------------------------------------------------------


class ParsedTexts:
    """
    :param check: of the whole answer.
    """

    def __init__(self, check: _Struct) -> None:
        self._check = check
        self.type: pa.DataType = check.type
        self._schema = pa.schema(list(self.type))

    @classmethod
    def of(cls, schema: dict[str, Any], form: schemas.Form) -> ParsedTexts | None:
        """
        :param schema: that answers are validated against.
        :param form: of the column.

        None where not all is known that the schema demands.
        """
        check = None if _is_other_dialect(schema) else _Reader(schema).check(schema, form)
        return cls(check.check) if check is not None and isinstance(check.check, _Struct) and not check.null else None

    def column(self, texts: Sequence[bytes | None]) -> pa.Array:
        """The values of the texts that are surely valid, and null for the others."""
        found, places = self._read(texts)
        if len(places) == len(texts):
            return found
        taken = np.zeros(len(texts), np.int64)
        is_known = np.zeros(len(texts), bool)
        taken[places], is_known[places] = np.arange(len(places)), True
        return found.take(columns.from_numpy(taken, is_known))

    def _read(self, texts: Sequence[bytes | None]) -> tuple[pa.Array, list[int]]:
        places = _objects(texts)
        together = b"\n".join([texts[place] or b"" for place in places])
        # A member that the schema does not name could hold what is not read the same way here and there.
        read = read_objects(together, len(places), self._schema, unexpected="error") if places else None
        if read is None:
            return pa.nulls(0, self.type), []
        found = pa.Array.from_buffers(self.type, read.num_rows, [None], children=read.columns)
        good = self._check.good(found)
        if not good.all():
            kept = np.flatnonzero(good)
            found, places = found.take(columns.from_numpy(kept)), [places[row] for row in kept.tolist()]
        return found, places


def _objects(texts: Sequence[bytes | None]) -> list[int]:
    """The texts that are objects, in strict JSON. Arrow does not survive one that is ``null``, if no other is with it."""
    places = []
    for place, text in enumerate(texts):
        try:
            _require_json(text)  # type: ignore[arg-type]  # TypeError for None
        except (ValueError, TypeError, RecursionError):
            continue
        places.append(place)
    return [place for place in places if (texts[place] or b"").lstrip().startswith(b"{")]


# --- what a schema demands -------------------------------------------------------------------------------------------


def _is_other_dialect(schema: Mapping[str, Any]) -> bool:
    """Whether keywords may have another meaning, or references another base."""
    return not {"$schema", "$id", "id", "$vocabulary"}.isdisjoint(schema)


@dataclass(frozen=True, slots=True)
class _Reader:
    root: dict[str, Any]

    def check(self, schema: Any, form: schemas.Form) -> _Nullable | None:
        """What is checked at one place of the schema; None where not everything can be."""
        if not isinstance(schema, dict) or form is schemas.JSON:
            return None
        said = {name: value for name, value in schema.items() if name not in _SILENT}
        if said.keys() == {"$ref"}:  # never again the same one: that would be JSON in the column
            return self.check(schemas.target(self.root, said["$ref"]), form)
        if said.keys() == {"anyOf"}:
            return self._optional(said["anyOf"], form)
        types = said.pop("type", None)
        named = set(types if isinstance(types, list) else [types])
        null = "null" in named
        named.discard("null")
        if len(named) != 1:
            return None
        check = self._of_type(named.pop(), said, form, null=null)
        return check if check is None else _Nullable(check, null)

    def _optional(self, alternatives: Sequence[Any], form: schemas.Form) -> _Nullable | None:
        others = [one for one in alternatives if one != {"type": "null"}]
        if len(others) != 1 or len(alternatives) != 2:
            return None
        found = self.check(others[0], form)
        return None if found is None else _Nullable(found.check, True)

    def _of_type(self, name: str | None, said: dict[str, Any], form: schemas.Form, *, null: bool) -> _Check | None:
        if name == "object" and isinstance(form, schemas.Struct):
            return self._struct(said, form)
        if name == "array" and isinstance(form, schemas.List):
            limits = _limits(said, ("minItems", "maxItems"))
            item = None if limits is None or said.keys() - limits.keys() != {"items"} else self.check(said["items"], form.item)
            return None if item is None or limits is None else _List(item, limits)
        if name == "string" and form is schemas.TEXT:
            return _text(said, null=null)
        if name in ("integer", "number") and form is (schemas.INTEGER if name == "integer" else schemas.NUMBER):
            said.pop("format", None)  # of texts only
            limits = _limits(said, ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
            return None if limits is None or said.keys() - limits.keys() else _Number(form.type, _without_int64(limits))
        return _Boolean() if name == "boolean" and form is schemas.BOOLEAN and not said else None

    def _struct(self, said: dict[str, Any], form: schemas.Struct) -> _Struct | None:
        properties, required = said.get("properties", {}), said.get("required", [])
        # Members that are not named are not taken at all.
        if said.keys() - {"properties", "required", "additionalProperties"} or not set(required) <= set(properties):
            return None
        members = []
        for name, inner in form.fields:
            found = self.check(properties[name], inner)
            if found is None:
                return None
            members.append((name, _Nullable(found.check, found.null and name not in required)))
        return _Struct(tuple(members))


def _text(said: Mapping[str, Any], *, null: bool) -> _Text | None:
    if not said:
        return _Text(None)
    words = [word for word in said.get("enum", ()) if word is not None]
    if said.keys() != {"enum"} or not all(isinstance(word, str) for word in words) or null != (None in said["enum"]):
        return None
    return _Text(columns.strings(words))


def _limits(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Any] | None:
    limits = {name: said[name] for name in names if name in said}
    exact = _without_int64(limits).values()
    is_number = all(isinstance(limit, (int, float)) and not isinstance(limit, bool) for limit in exact)
    return limits if is_number and all(abs(limit) <= _EXACT for limit in exact) else None


def _without_int64(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Without the limits that the type of the column has anyway."""
    return {name: limit for name, limit in limits.items() if (name, limit) not in schemas.INT64.items()}
