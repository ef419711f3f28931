"""A JSON Schema as Google's own ``Schema`` (REST reference, ``Schema``), for ``generation_config.response_schema``.

Only the form that the model is guided by: answers are validated against the JSON Schema itself. So what merely says more than
``Schema`` can (titles of types, formats, ``additionalProperties: false``) may be left out here, while a restriction that would
silently not reach the model is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.shapes import schemas

#: Taken over as they are, by type: JSON Schema's name -> the field of ``Schema``, in the proto's own spelling. With another type
#: they mean nothing.
_WORDS = {"title": "title", "description": "description"}
_BOUNDS = {"minimum": "minimum", "maximum": "maximum"}
_SAME = {
    "STRING": {"pattern": "pattern", "minLength": "min_length", "maxLength": "max_length"},
    "NUMBER": _BOUNDS,
    "INTEGER": _BOUNDS,
    "ARRAY": {"minItems": "min_items", "maxItems": "max_items"},
    "OBJECT": {"minProperties": "min_properties", "maxProperties": "max_properties"},
}

#: Keywords that only describe. Beside a reference they may differ from what it refers to.
_DESCRIBING = {"title", "description", "default", "examples", "example", "deprecated", "$comment", "readOnly", "writeOnly"}

#: Restrictions that ``Schema`` has no field for.
_REFUSED = (
    "not", "if", "then", "else", "prefixItems", "additionalItems", "contains", "minContains", "maxContains", "uniqueItems",
    "unevaluatedItems", "patternProperties", "propertyNames", "unevaluatedProperties", "dependentSchemas", "dependentRequired",
    "dependencies", "multipleOf", "$dynamicRef", "$recursiveRef",
)  # fmt: skip

#: Keywords of that value restrict nothing.
_HARMLESS = {"uniqueItems": False, "unevaluatedItems": True, "unevaluatedProperties": True, "additionalItems": True}

#: Formats that the service takes with each type; it refuses others.
_FORMATS = {"STRING": {"date-time"}, "NUMBER": {"float", "double"}, "INTEGER": {"int32", "int64"}}

#: Other formats become words, and where possible a pattern, so that the model is still guided.
_PATTERNS = {
    "date": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
    "time": "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?",
    "uuid": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}

#: Schemas within one schema, after references have been replaced by what they refer to. Far more than the service follows; a
#: few references to each other can make billions.
_MOST_PARTS = 10_000

_NULL = {"type": "NULL"}


def google_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema in Google's form, with field names in snake_case.

    :param schema: a valid JSON Schema.

    Types are in upper case, null is ``nullable``, references are replaced by what they refer to, ``oneOf`` is ``anyOf``, and
    ``property_ordering`` keeps the order of the properties. An exclusive bound of a number becomes an inclusive one. Raises
    InputError, naming keyword and place, for a restriction that cannot be expressed.
    """
    return _Converter(schema).convert(schema, "$", ())


class _Converter:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._parts = 0

    def convert(self, schema: Any, place: str, open_refs: tuple[str, ...]) -> dict[str, Any]:
        """:param open_refs: the references that led here; one that comes again is a recursion."""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise InputError(
                f"response_schema has more than {_MOST_PARTS:,} parts once its references are replaced. Make it smaller."
            )
        schema, open_refs = self._resolved(schema, place, open_refs)
        for name in _REFUSED:
            if name in schema and schema[name] != _HARMLESS.get(name):
                _refuse(f"{name!r}", place)
        types, nullable = _types(schema)
        made = {field: schema[name] for name, field in _WORDS.items() if name in schema}
        if "const" in schema or "enum" in schema:
            _add_values(made, schema, place)
        elif len(types) > 1:
            bare = {name: value for name, value in schema.items() if name not in _DESCRIBING and name != "nullable"}
            made["any_of"] = [self.convert({**bare, "type": type}, place, open_refs) for type in types]
        else:
            self._add_typed(made, types[0].upper() if types else _implied(schema), schema, place, open_refs)
            nullable |= self._add_alternatives(made, schema, place, open_refs)
        if nullable and made.get("type") != "NULL":
            made["nullable"] = True
        return made

    def _add_typed(
        self, made: dict[str, Any], type: str | None, schema: Mapping[str, Any], place: str, open_refs: tuple[str, ...]
    ) -> None:
        if type is None:
            return
        made["type"] = type
        made |= {field: schema[name] for name, field in _SAME.get(type, {}).items() if name in schema}
        if type in ("NUMBER", "INTEGER"):
            _add_bounds(made, schema)
        elif type == "OBJECT":
            self._add_object(made, schema, place, open_refs)
        elif type == "ARRAY" and "items" in schema:
            made["items"] = self.convert(schema["items"], f"{place}[]", open_refs)
        _add_format(made, schema)

    def _resolved(self, schema: Any, place: str, open_refs: tuple[str, ...]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """The schema with what it refers to, and what its only ``allOf`` says. Its own keywords take precedence."""
        while True:
            if schema is True:
                return {}, open_refs
            if not isinstance(schema, Mapping):
                _refuse(json.dumps(schema), place)
            if (reference := schema.get("$ref")) is not None:
                if reference in open_refs:
                    _refuse(f"the recursive reference {reference!r}", place)
                inner, name = schemas.target(self._root, reference), "$ref"
                open_refs = (*open_refs, reference)
            elif "allOf" in schema:
                if len(schema["allOf"]) != 1:
                    _refuse("'allOf' of several schemas", place)
                inner, name = schema["allOf"][0], "allOf"
            else:
                return schema, open_refs
            own = {key: value for key, value in schema.items() if key != name}
            for key in own.keys() & inner.keys() - _DESCRIBING if isinstance(inner, Mapping) else ():
                if own[key] != inner[key]:
                    _refuse(f"{key!r} beside {name!r}, which says otherwise,", place)
            schema = {**inner, **own} if isinstance(inner, Mapping) else own if inner is True else inner

    def _add_object(self, made: dict[str, Any], schema: Mapping[str, Any], place: str, open_refs: tuple[str, ...]) -> None:
        if schema.get("additionalProperties") not in (None, True, False, {}):
            _refuse("'additionalProperties' with a schema (a dict of any keys)", place)
        properties = schema.get("properties")
        if not properties:
            return
        made["properties"] = {name: self.convert(inner, f"{place}.{name}", open_refs) for name, inner in properties.items()}
        order = schema.get("propertyOrdering")
        made["property_ordering"] = order if isinstance(order, list) else list(properties)
        if required := [name for name in schema.get("required", ()) if name in properties]:
            made["required"] = required

    def _add_alternatives(self, made: dict[str, Any], schema: Mapping[str, Any], place: str, open_refs: tuple[str, ...]) -> bool:
        """Whether null is one of the alternatives. A single other one is written in place of the union."""
        found = [name for name in ("anyOf", "oneOf") if name in schema]
        if not found:
            return False
        if len(found) > 1 or "any_of" in made:
            _refuse("two unions at one place", place)
        all = [self.convert(option, f"{place}.{found[0]}[{at}]", open_refs) for at, option in enumerate(schema[found[0]])]
        options = [option for option in all if option != _NULL]
        if not options:
            made |= _NULL
        elif len(options) == 1:
            made |= {**options[0], **made}
        else:
            made["any_of"] = options
        return len(options) < len(all)


def _types(schema: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The types other than null, and whether null is allowed too."""
    types = schema.get("type", [])
    types = types if isinstance(types, list) else [types]
    others = [type for type in types if type != "null"]
    nullable = schema.get("nullable") is True or len(others) < len(types)
    return (others, nullable) if others or not types else (["null"], False)


def _implied(schema: Mapping[str, Any]) -> str | None:
    """The type of a schema that names none and is about the members of an object or of an array."""
    return "OBJECT" if "properties" in schema else "ARRAY" if "items" in schema else None


def _add_values(made: dict[str, Any], schema: Mapping[str, Any], place: str) -> None:
    values = [schema["const"]] if "const" in schema else list(schema["enum"])
    texts = [value for value in values if value is not None]
    for value in texts:
        if not isinstance(value, str):
            _refuse(f"the value {json.dumps(value)} in 'enum' or 'const', which is not text,", place)
    if not texts:
        made["type"] = "NULL"
        return
    made |= {"type": "STRING", "format": "enum", "enum": texts}
    if len(texts) < len(values):
        made["nullable"] = True


def _add_bounds(made: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Exclusive bounds: the next integer, or the number itself, which validation still refuses."""
    step = 1 if made.get("type") == "INTEGER" else 0
    for name, exclusive, sign in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        bound = schema.get(exclusive)
        if not isinstance(bound, (int, float)) or isinstance(bound, bool):
            continue
        bound = bound + sign * step
        both = [bound, *([made[name]] if name in made else [])]
        made[name] = max(both) if sign > 0 else min(both)


def _add_format(made: dict[str, Any], schema: Mapping[str, Any]) -> None:
    format = schema.get("format")
    if not isinstance(format, str):
        return
    if format in _FORMATS.get(made.get("type", ""), ()):
        made["format"] = format
    else:
        made["description"] = " ".join(_texts(made.get("description"), f"Format: {format}."))
        if made.get("type") == "STRING" and format in _PATTERNS:
            made.setdefault("pattern", _PATTERNS[format])


def _texts(*texts: Any) -> Iterator[str]:
    return (text for text in texts if isinstance(text, str) and text)


def _refuse(what: str, place: str) -> NoReturn:
    raise InputError(
        f"response_schema has {what} at {place}, which Google's Schema cannot express. Leave it out, or send the schema with "
        "schema_field='response_json_schema'."
    )
