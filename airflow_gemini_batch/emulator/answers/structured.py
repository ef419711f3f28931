"""Values that satisfy a schema, filled with words of the prompt.

Two dialects are accepted: Google's `Schema` (upper-case types, `nullable`) and JSON Schema (`$ref`, `$defs`, lists of types).
Property names belong to the caller and are never converted between camelCase and snake_case. Recursion is limited by depth:
beyond it, optional properties and list items are left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from airflow_gemini_batch.emulator.answers.extracts import content_words, extract, phrase
from airflow_gemini_batch.emulator.patterns import first_match
from airflow_gemini_batch.emulator.proto_json import Json, get, get_int, get_list, get_object

#: Below this depth only required properties are generated, and lists are as short as the schema allows.
_OPTIONAL_DEPTH = 3
#: Below this depth even a required value becomes null: a schema that recurses this far has no finite value.
_MAX_DEPTH = 12

#: Limits of one answer. For a schema that needs more, the service answers with this text.
_MAX_VALUES = 10_000
_MAX_TEXT_LENGTH = 100_000
_TOO_MANY_STATES = "The specified schema produces a constraint that has too many states for serving."

_FIRST_DAY = date(2020, 1, 1)
_SHORT_NAMES = ("name", "title", "label", "category", "topic", "tag", "keyword", "type", "kind", "id", "code")


class SchemaRefused(ValueError):
    """The schema is not valid, or needs more values than an answer can have."""


@dataclass(frozen=True, slots=True)
class _ValueGenerator:
    """Generates values for one request.

    `root` is where references are resolved, `prompt` and `digest` decide the values, `left` counts down to the limit of values.
    """

    root: Json
    prompt: str
    digest: int
    left: Iterator[int]

    def value(self, schema: Any, path: str, depth: int) -> Any:
        if next(self.left, None) is None:
            raise SchemaRefused(_TOO_MANY_STATES)
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if choices := get_list(schema, "enum"):
            return choices[self._choice(path) % len(choices)]
        kind = _type_of(schema)
        if depth > _MAX_DEPTH:
            return None
        if kind == "null" or (get(schema, "nullable") is True and depth > _OPTIONAL_DEPTH):
            return None
        for name in ("anyOf", "oneOf"):
            if options := get_list(schema, name):
                return self.value({**_defaults(schema), **self._option(options, path, depth)}, path, depth)
        return _MAKERS.get(kind, _ValueGenerator._text)(self, schema, path, depth)

    def _option(self, options: list[Any], path: str, depth: int) -> Json:
        """One of several schemas: not null above the depth limit, null below it where possible."""
        resolved = [self._resolved(option) for option in options]
        nulls = [option for option in resolved if _type_of(option) == "null"]
        others = [option for option in resolved if _type_of(option) != "null"]
        if depth > _OPTIONAL_DEPTH and nulls:
            return nulls[0]
        if depth > _OPTIONAL_DEPTH:
            others = [option for option in others if _type_of(option) not in ("object", "array")] or others
        return others[self._choice(path) % len(others)] if others else {"type": "null"}

    def _object(self, schema: Json, path: str, depth: int) -> Json:
        properties = get_object(schema, "properties")
        required = set(get_list(schema, "required"))
        order = [name for name in get_list(schema, "propertyOrdering") if name in properties]
        result = {
            name: self.value(properties[name], f"{path}.{name}", depth + 1)
            for name in dict.fromkeys([*order, *properties])
            if name in required or depth < _OPTIONAL_DEPTH
        }
        extra = schema.get("additionalProperties", schema.get("additional_properties"))
        if not properties and isinstance(extra, dict) and depth < _OPTIONAL_DEPTH:
            words = content_words(self.prompt)[: max(1, get_int(schema, "minProperties") or 2)]
            result = {word.lower(): self.value(extra, f"{path}.{word}", depth + 1) for word in words}
        return result

    def _array(self, schema: Json, path: str, depth: int) -> list[Any]:
        fewest = get_int(schema, "minItems") or 0
        most = get_int(schema, "maxItems")
        if prefix := schema.get("prefixItems"):
            return [self.value(item, f"{path}[{number}]", depth + 1) for number, item in enumerate(prefix)]
        target = fewest if depth >= _OPTIONAL_DEPTH else max(fewest, 1 + self._choice(path) % 3)
        count = target if most is None else min(target, most)
        items = get(schema, "items", {})
        result = [self.value(items, f"{path}[{number}]", depth + 1) for number in range(count)]
        if schema.get("uniqueItems") is True:
            result = _each_once(result)
        return result

    def _integer(self, schema: Json, path: str, depth: int) -> int:
        low, high = _bounds(schema, 1)
        step = int(get(schema, "multipleOf", 1)) or 1
        first = -(-int(low) // step) * step
        return first + self._choice(path) % (max(0, int(high) - first) // step + 1) * step

    def _number(self, schema: Json, path: str, depth: int) -> float:
        low, high = _bounds(schema, 0.01)
        return min(high, max(low, round(low + (high - low) * (self._choice(path) % 10_001) / 10_000, 4)))

    def _boolean(self, schema: Json, path: str, depth: int) -> bool:
        return self._choice(path) % 2 == 0

    def _text(self, schema: Json, path: str, depth: int) -> str:
        pattern = schema.get("pattern")
        result = self._plain_text(schema, path)
        if isinstance(pattern, str):
            re.compile(pattern)
            # A pattern that RE2 does not take, such as one with a lookahead, is not followed.
            with contextlib.suppress(ValueError):
                result = first_match(pattern, [result, *self._guesses(path)]) or result
        shortest, longest = get_int(schema, "minLength") or 0, get_int(schema, "maxLength")
        if shortest > _MAX_TEXT_LENGTH:
            raise SchemaRefused(_TOO_MANY_STATES)
        while len(result) < shortest:
            result += f" {phrase(self.prompt, self._choice(f'{path}{len(result)}'))}"
        return result if longest is None else result[:longest]

    def _plain_text(self, schema: Json, path: str) -> str:
        if result := self._formatted(path).get(str(schema.get("format"))):
            return result
        name = path.rpartition(".")[2].lower()
        if "[" in name or any(name.endswith(short) for short in _SHORT_NAMES):
            return phrase(self.prompt, self._choice(path), 1 + self._choice(path) % 2)
        return extract(self.prompt, 1, 20)

    def _formatted(self, path: str) -> dict[str, str]:
        """A text in each format that is known."""
        day = _FIRST_DAY + timedelta(days=self._choice(path) % 2000)
        word = re.sub(r"\W", "", content_words(self.prompt)[0].lower()) or "nothing"
        return {
            "date": day.isoformat(),
            "date-time": f"{day.isoformat()}T12:00:00Z",
            "time": "12:00:00Z",
            "duration": "PT1H",
            "email": f"{word}@example.com",
            "uri": f"https://example.com/{word}",
            "uuid": "-".join(f"{self._choice(path + n):032x}"[:size] for n, size in _UUID_GROUPS),
            "ipv4": "192.0.2.1",
            "hostname": "example.com",
        }

    def _guesses(self, path: str) -> list[str]:
        """A few texts in common formats, to be tried against a `pattern`. General patterns are not supported."""
        words = content_words(self.prompt)
        digits = str(self._choice(path))
        sizes = range(1, 17)
        return [
            *words,
            *[word.lower() for word in words],
            *[word.upper() for word in words],
            *[digits[:size] for size in sizes],
            *[("abcdefgh" * 2)[:size] for size in sizes],
            *[("ABCDEFGH" * 2)[:size] for size in sizes],
            f"{digits[:3]}-{digits[3:7]}",
            f"AB-{digits[:4]}",
            *self._formatted(path).values(),
        ]

    def _resolved(self, schema: Any) -> Json:
        """Resolves `$ref` in `$defs` (JSON Schema) or `ref` in `defs` (Google's), and merges `allOf`."""
        for _ in range(_MAX_DEPTH):
            if not isinstance(schema, dict):
                return {}
            reference: Any = schema.get("$ref", schema.get("ref"))
            if not isinstance(reference, str):
                break
            schema = {**_at(self.root, reference), **{k: v for k, v in schema.items() if k not in ("$ref", "ref")}}
        resolved: Json = {name: value for name, value in schema.items() if name != "allOf"} if isinstance(schema, dict) else {}
        for part in get_list(schema, "allOf") if isinstance(schema, dict) else ():
            resolved |= self._resolved(part)
        return resolved

    def _choice(self, path: str) -> int:
        digest = hashlib.blake2b(f"{self.digest}{path}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big")


_MAKERS: dict[str, Callable[[_ValueGenerator, Json, str, int], Any]] = {
    "object": _ValueGenerator._object,
    "array": _ValueGenerator._array,
    "integer": _ValueGenerator._integer,
    "number": _ValueGenerator._number,
    "boolean": _ValueGenerator._boolean,
    "string": _ValueGenerator._text,
}
_UUID_GROUPS = (("a", 8), ("b", 4), ("c", 4), ("d", 4), ("e", 12))


def _each_once(items: list[Any]) -> list[Any]:
    """Removes duplicates by JSON equality: true differs from 1, and the order of an object's fields does not matter."""
    found: dict[str, Any] = {}
    for item in items:
        found.setdefault(json.dumps(item, sort_keys=True), item)
    return list(found.values())


def structured_value(schema: Json, prompt: str, digest: int) -> Any:
    """A value that satisfies `schema`. The same arguments give the same value. Raises SchemaRefused."""
    try:
        return _ValueGenerator(schema, prompt, digest, iter(range(_MAX_VALUES))).value(schema, "", 0)
    except SchemaRefused:
        raise
    except (TypeError, ValueError, AttributeError, OverflowError, re.error, RecursionError) as error:
        # A JSON Schema is free-form JSON, so wrong types inside it show only here.
        raise SchemaRefused(f"Invalid JSON schema: {error}") from error


def _type_of(schema: Json) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        named = [name for name in kind if str(name).lower() != "null"]
        kind = named[0] if named else "null"
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else ""


def _defaults(schema: Json) -> Json:
    """The keywords beside an `anyOf`. They apply to each option."""
    return {name: value for name, value in schema.items() if name not in ("anyOf", "any_of", "oneOf", "type")}


def _bounds(schema: Json, smallest: float) -> tuple[float, float]:
    low, high = get(schema, "minimum"), get(schema, "maximum")
    if low is None and (above := get(schema, "exclusiveMinimum")) is not None:
        low = above + smallest
    if high is None and (below := get(schema, "exclusiveMaximum")) is not None:
        high = below - smallest
    if low is None:
        low = 1 if high is None else min(1, high)
    return low, (max(low, low + 99) if high is None else high)


def _at(root: Json, reference: str) -> Json:
    """The schema at `#/$defs/Name`, or at a bare name in `defs`; `{}` if there is none."""
    if not reference.startswith("#"):
        for name in ("$defs", "defs", "definitions"):
            found = root.get(name)
            if isinstance(found, dict) and isinstance(found.get(reference), dict):
                return dict(found[reference])
        return {}
    place: Any = root
    for step in reference.lstrip("#").strip("/").split("/") if reference != "#" else ():
        place = place.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else {}
