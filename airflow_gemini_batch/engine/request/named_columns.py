"""The columns that a request names, known before any source is opened."""

from __future__ import annotations

from airflow_gemini_batch.engine.request import placeholders
from airflow_gemini_batch.engine.specs import GenerateRequest, Media, RawRequest, RequestSpec

#: The texts of a request that hold placeholders. Others may hold dollar signs of their own, as a schema does.
_TEMPLATES = ("prompt", "system_instruction", "text")


def columns_named(request: RequestSpec, *more: str | None) -> list[str]:
    """The columns that a request names itself; none for a function.

    :param more: further names; None is ignored.
    """
    found = [name for name in more if name is not None]
    if isinstance(request, RawRequest):
        found.append(request.column)
    for argument in _TEMPLATES:
        text = getattr(request, argument, None)
        if isinstance(text, str):
            found += placeholders.parse(text, argument=argument).columns
    if isinstance(request, GenerateRequest):
        given = (request.media,) if isinstance(request.media, (str, Media)) else request.media
        media = [Media(item) if isinstance(item, str) else item for item in given]
        found += [name for item in media for name in (item.column, item.mime_type_column) if name is not None]
        found += [] if request.config_column is None else [request.config_column]
    return list(dict.fromkeys(found))
