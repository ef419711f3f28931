"""The columns that a request names, known before any source is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_gemini_batch.engine.request import placeholders
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest, Media, RawRequest, RequestSpec


def columns_named(request: RequestSpec, *more: str | None) -> list[str]:
    """The columns that a request names itself; none for a function.

    :param more: further names; None is ignored.
    """
    found = [name for name in more if name is not None]
    if isinstance(request, RawRequest):
        found.append(request.column)
    elif isinstance(request, EmbedRequest):
        found += _in_texts(request.text, _field(request.config, "title"))
    elif isinstance(request, GenerateRequest):
        system = [_field(request.config, name) for name in ("system_instruction", "systemInstruction")]
        found += _in_texts(request.prompt, request.system_instruction, system)
        given = (request.media,) if isinstance(request.media, (str, Media)) else request.media
        media = [Media(item) if isinstance(item, str) else item for item in given]
        found += [name for item in media for name in (item.column, item.mime_type_column) if name is not None]
        found += [] if request.config_column is None else [request.config_column]
    return list(dict.fromkeys(found))


def _field(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def _in_texts(*texts: Any) -> Iterator[str]:
    """The columns that the placeholders of texts name, at any depth."""
    for text in texts:
        if isinstance(text, str):
            yield from placeholders.parse(text, argument="the request").columns
        elif isinstance(text, (list, tuple)):
            yield from _in_texts(*text)
        elif isinstance(text, Mapping):
            yield from _in_texts(*text.values())
        elif hasattr(text, "model_dump"):
            yield from _in_texts(text.model_dump(exclude_unset=True))
