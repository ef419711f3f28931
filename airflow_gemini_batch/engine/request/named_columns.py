"""The columns that a request names, known before any source is opened."""

from __future__ import annotations

import dataclasses

from airflow_gemini_batch.engine.request import placeholders
from airflow_gemini_batch.engine.specs import GenerateRequest, Media, RawRequest, RequestSpec


def columns_named(request: RequestSpec, *more: str | None) -> list[str]:
    """The columns that a request names itself; none for a function.

    :param more: further names; None is ignored.
    """
    found = [name for name in more if name is not None]
    if isinstance(request, RawRequest):
        found.append(request.column)
    elif dataclasses.is_dataclass(request):
        for field in dataclasses.fields(request):
            text = getattr(request, field.name)
            if isinstance(text, str) and field.name != "config_column":
                found += placeholders.parse(text, argument=field.name).columns
    if isinstance(request, GenerateRequest):
        given = (request.media,) if isinstance(request.media, (str, Media)) else request.media
        media = [Media(item) if isinstance(item, str) else item for item in given]
        found += [name for item in media for name in (item.column, item.mime_type_column) if name is not None]
        found += [] if request.config_column is None else [request.config_column]
    return list(dict.fromkeys(found))
