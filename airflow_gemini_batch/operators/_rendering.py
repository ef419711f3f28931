"""Configs of requests in a form whose texts Airflow renders: dicts and lists, into which its rendering descends."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from enum import Enum
from typing import Any

from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, RawRequest

#: What begins Jinja in a text.
_JINJA = ("{{", "{%", "{#")


class ShownRequest:
    """A request as Airflow shows it with the rendered templates. Airflow does not look for templates in it."""

    def __init__(self, request: Any) -> None:
        self.request = request

    def serialize(self) -> Any:
        if isinstance(self.request, (GenerateRequest, EmbedRequest, RawRequest)):
            return self.request.serialize()
        return f"function {getattr(self.request, '__qualname__', type(self.request).__name__)}"

    def __str__(self) -> str:
        return str(self.serialize())


def as_it_is(value: Any) -> Any:
    """A value in a form into which Airflow's rendering of templates does not descend."""
    if isinstance(value, str):
        return collections.UserString(value)
    if isinstance(value, Mapping):
        return collections.UserDict(value)
    return collections.UserList(value) if isinstance(value, (list, tuple)) else value


def renderable(value: Any) -> Any:
    """The value with plain texts in place of enums, which are texts too and would be rendered to something else.

    Objects of google.genai.types become dicts where a text in them has Jinja, and stay as they are elsewhere.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: renderable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [renderable(inner) for inner in value]
    if hasattr(value, "model_dump") and not isinstance(value, type):
        plain = renderable(value.model_dump(exclude_unset=True))
        return plain if _has_jinja(plain) else value
    return value


def is_template(text: str) -> bool:
    """Whether the text has Jinja in it."""
    return any(begin in text for begin in _JINJA)


def _has_jinja(value: Any) -> bool:
    if isinstance(value, str):
        return is_template(value)
    if isinstance(value, Mapping):
        return any(map(_has_jinja, value.values()))
    return isinstance(value, list) and any(map(_has_jinja, value))
