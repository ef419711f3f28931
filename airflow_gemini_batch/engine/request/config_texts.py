"""Placeholders in the texts of a config: what ``${column}`` means at each place of a request where a text can stand.

A system instruction is filled for each row, wherever it is given. In every other text (descriptions of tools and schemas, stop
sequences, labels, names) a dollar is sent as it is, since such texts have dollars of their own, as in ``"$ref": "#/$defs/A"``.
Only ``${`` is refused there, because it looks like a placeholder and nothing would fill it; ``$${`` stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.placeholders import Template
from airflow_gemini_batch.engine.request.templates import mark, read_template

_OPEN = re.compile(r"\$?\$\{[^{}]*\}?")
_SYSTEM_TEXT = re.compile(r"system_instruction\.parts\[\d+\]\.text")
#: The same in a config as users write it: a text, a list of texts or parts, or a content.
_SYSTEM_TEXT_OF_CONFIG = re.compile(r"system(_i|I)nstruction(\[\d+\])?(\.parts\[\d+\])?(\.text)?")


def marked_texts(
    written: dict[str, Any], schema: pa.Schema, *, done: Collection[str], own_schema: bool = False
) -> tuple[dict[str, Any], dict[str, Template], dict[str, str]]:
    """The written request with marks for the texts of its config that are filled; the marks' templates; and their texts.

    :param done: marks that stand in it already.
    :param own_schema: whether the response schema is the request's own, for messages.

    Raises InputError for a placeholder that cannot be filled.
    """
    templates: dict[str, Template] = {}
    shown: dict[str, str] = {}

    def text(value: str, place: str) -> str:
        if value in done or "$" not in value:
            return value
        if not _SYSTEM_TEXT.fullmatch(place):
            return literal(value, _named(place, own_schema))
        template = read_template(value, "config.system_instruction", schema)
        if not template.columns:
            return template.texts[0]
        one = mark()
        templates[one], shown[one] = template, value
        return one

    return _mapped(written, "", text), templates, shown


def literal(text: str, place: str) -> str:
    """A text in which no placeholder is filled. Raises InputError for one, unless its dollar is doubled."""

    def one(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        raise InputError(
            f"{place} holds the placeholder {found[0]!r}, which is not filled there: only prompt and system_instruction are "
            "filled for each row. Leave it out, or write $${ for a literal ${."
        )

    return _OPEN.sub(one, text)


def literal_schema(response_schema: dict[str, Any]) -> dict[str, Any]:
    """A response schema as it is sent."""
    schema: dict[str, Any] = _mapped(response_schema, "response_schema", literal)
    return schema


def row_config(config: dict[str, Any]) -> dict[str, Any]:
    """A row's own config, which is data: no placeholder in it is filled, so that its dollars are sent as they are.

    Raises InputError for ``${``, unless its dollar is doubled.
    """

    def text(value: str, place: str) -> str:
        unescaped = literal(value, f"the row's {place}")
        # The others are made literal when the whole config is.
        return unescaped.replace("$", "$$") if _SYSTEM_TEXT_OF_CONFIG.fullmatch(place) else value

    checked: dict[str, Any] = _mapped(config, "", text)
    return checked


def _mapped(value: Any, place: str, text: Callable[[str, str], str]) -> Any:
    """The value with every text in it replaced, names included."""
    if isinstance(value, str):
        return text(value, place)
    if isinstance(value, list):
        return [_mapped(inner, f"{place}[{number}]", text) for number, inner in enumerate(value)]
    if isinstance(value, dict):
        below = f"{place}." if place else ""
        return {text(name, f"{below}(name)"): _mapped(inner, f"{below}{name}", text) for name, inner in value.items()}
    return value


def _named(place: str, own_schema: bool) -> str:
    """Where a text of the written request stands in what the user wrote."""
    place = place.removeprefix("generation_config.")
    if own_schema and place.startswith("response_json_schema"):
        return place.replace("response_json_schema", "response_schema", 1)
    return f"config.{place}"
