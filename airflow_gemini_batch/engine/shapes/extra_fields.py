"""The columns that a run's request adds to the results, between ``text`` and ``finish_reason``: their names and Arrow types.

They follow from the request alone, as the manifest keeps it, so every part of a run has the same ones, whatever the answers hold.
``response.extras`` attaches to each name the reader that fills the column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.shapes import schemas
from airflow_gemini_batch.engine.shapes.dimensions import embedding_type

#: Tools whose answers are function calls: the computer's actions come as calls too (computer use page).
_CALLING = {"function_declarations", "computer_use"}

#: A manifest's request with one of these leaves to each row what it asks for.
_DECIDED_BY_ROWS = {"config_column", "column", "callable"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a manifest's request asks for, as far as it adds columns.

    :param anything: the rows decide, so every column that an answer may need is there.
    """

    embeddings: bool
    openai: bool
    schema: bool
    anything: bool
    media: bool
    functions: bool
    other_tools: bool
    code_execution: bool
    url_context: bool
    thoughts: bool

    @classmethod
    def by(cls, request: dict[str, Any]) -> _Asked:
        generate = request.get("request", {})
        config = generate.get("generation_config", {})
        tools = {name for tool in generate.get("tools", ()) for name in tool}
        embeddings, openai = "embed_request" in request, request.get("format") == "openai"
        return cls(
            embeddings=embeddings,
            openai=openai,
            schema="response_schema" in request,
            # Embeddings have a vector and nothing else; the converted OpenAI requests ask for text, functions and thoughts only.
            anything=not _DECIDED_BY_ROWS.isdisjoint(request) and not embeddings and not openai,
            media=not {*config.get("response_modalities", ())} <= {"TEXT"},
            functions=not tools.isdisjoint(_CALLING),
            other_tools=bool(tools - _CALLING),
            code_execution="code_execution" in tools,
            url_context="url_context" in tools,
            thoughts=bool(config.get("thinking_config", {}).get("include_thoughts")),
        )


#: Column -> when it is added. In the order of the table.
_ADDED: dict[str, Callable[[_Asked], bool]] = {
    "embedding": lambda asked: asked.embeddings,
    "parsed": lambda asked: asked.schema,
    # Code that the model executes answers with images too, such as plots (code execution page).
    "media": lambda asked: asked.anything or asked.media or asked.code_execution,
    "grounding": lambda asked: asked.anything or asked.other_tools,
    "citations": lambda asked: asked.anything or asked.other_tools,
    "function_calls": lambda asked: asked.anything or asked.openai or asked.functions,
    "code_execution": lambda asked: asked.anything or asked.code_execution,
    "url_context": lambda asked: asked.anything or asked.url_context,
    "thoughts": lambda asked: asked.anything or asked.openai or asked.thoughts,
}

#: Column -> its Arrow type, from the manifest's request and where media go; the others hold JSON or plain text as strings.
_TYPES: dict[str, Callable[[dict[str, Any], bool], pa.DataType]] = {
    "embedding": lambda request, _: embedding_type(request["embed_request"]["output_dimensionality"]),
    "parsed": lambda request, _: schemas.form_of(request["response_schema"]).type,
    "media": lambda _, as_files: media_type(as_files=as_files),
}


def _string(request: dict[str, Any], media_as_files: bool) -> pa.DataType:
    return pa.string()


def extra_fields(request: dict[str, Any], *, media_as_files: bool = False) -> tuple[pa.Field, ...]:
    """The extra columns of a run, in the order of the table.

    :param request: as the manifest keeps it.
    :param media_as_files: the ``media`` column holds URIs of files instead of bytes.
    """
    asked = _Asked.by(request)
    names = [name for name, is_added in _ADDED.items() if is_added(asked)]
    return tuple(pa.field(name, _TYPES.get(name, _string)(request, media_as_files)) for name in names)


def media_type(*, as_files: bool) -> pa.DataType:
    """The Arrow type of the ``media`` column: a list of media, each with its bytes, or with the URI of its file."""
    content = pa.field("uri", pa.string()) if as_files else pa.field("data", pa.binary())
    return pa.list_(pa.struct([pa.field("mime_type", pa.string()), content]))
