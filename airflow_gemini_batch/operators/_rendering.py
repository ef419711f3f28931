"""Configs of requests in a form whose texts Airflow renders: dicts and lists, into which its rendering descends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

#: What begins Jinja in a text.
_JINJA = ("{{", "{%", "{#")


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


def _has_jinja(value: Any) -> bool:
    if isinstance(value, str):
        return any(begin in value for begin in _JINJA)
    if isinstance(value, Mapping):
        return any(map(_has_jinja, value.values()))
    return isinstance(value, list) and any(map(_has_jinja, value))
