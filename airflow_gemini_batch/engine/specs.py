"""What a row is turned into: the public ways to say it.

These classes only hold what the user wrote, and can be compared, pickled and serialised with a DAG. Everything about
them that can be wrong is found by ``asking.encoding.compile_request``, before anything is written or sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from google.genai import types


@dataclass(frozen=True)
class Media:
    """A column that holds images, documents, audio or video.

    Its values are bytes, which travel inside the request, or URIs that the service opens: a name of the Files API (``files/…``)
    or that file's whole URI, ``https://…``, or ``gs://…`` of a registered file; a list of either makes several parts.

    :param mime_type: of every value.
    :param mime_type_column: the column that says it for each row, and goes before ``mime_type``; without both, a name's ending
        says it.
    :param upload: the values are paths or URIs of files that are read here and uploaded, once for each distinct content.
    :param required: whether a row without a value is INVALID_INPUT; else its request has one part less.
    """

    column: str
    mime_type: str | None = None
    mime_type_column: str | None = None
    upload: bool = False
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Ask the model one question a row.

    ``${column}`` in the texts stands for the row's value (the grammar is that of :class:`string.Template`, PEP 292, with
    any column name between the braces, spaces and dots included). A bare ``$column`` is a placeholder too; ``$$`` is a
    literal dollar sign, and so is a ``$`` before anything that cannot begin a name, as in ``$5``.
    A row's value is put in as it is: ``$``, ``{{ }}`` and quotes in the data mean nothing.

    :param prompt: the user's turn.
    :param system_instruction: the system's; not together with one in ``config``.
    :param config: any field of :class:`google.genai.types.GenerateContentConfig`, as an instance of it or as a dict with
        keys in either case; the same for every row.
    :param config_column: a column with a config for each row, as a struct, a map or the text of a JSON object; each field that it
        sets replaces ``config``'s.
    :param response_schema: a pydantic model, a ``list[Model]`` or a JSON Schema: the answer is to be JSON of that form.
    :param media: columns that hold images, documents, audio or video, by name or as :class:`Media`; their parts stand before the
        prompt's text, in this order.
    """

    prompt: str
    system_instruction: str | None = None
    config: Mapping[str, object] | types.GenerateContentConfigOrDict | None = None
    response_schema: Any | None = None
    config_column: str | None = None
    media: Sequence[str | Media] = ()


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """Turn a text of each row into a vector.

    :param text: what is embedded, with placeholders as in :class:`GenerateRequest`.
    :param config: any field of :class:`google.genai.types.EmbedContentConfig`, as an instance of it or as a dict; the same for
        every row, except that ``title`` may hold placeholders too. Without an ``output_dimensionality`` the model's default is
        asked for by name, so that all rows have it.
    """

    text: str
    config: Mapping[str, object] | types.EmbedContentConfigOrDict | None = None


@dataclass(frozen=True)
class RawRequest:
    """The table already holds REST requests.

    :param column: holds one ``GenerateContentRequest`` or ``EmbedContentRequest`` a row, as the text of a JSON object; in JSON
        Lines, as an object too. It is sent token by token as it is; only white space between tokens is left out.
    :param format: ``gemini-embeddings`` says that vectors are asked for. ``openai`` and ``openai-embeddings`` say that the column
        holds the ``body`` of an OpenAI batch file, of chat completions or of embeddings; it is converted, and a row that cannot
        be is INVALID_INPUT.
    :param dimensions: of the two for embeddings only: the length of the vectors, the same for all rows; None: the model's own.
    """

    column: str = "request"
    format: Literal["gemini", "gemini-embeddings", "openai", "openai-embeddings"] = "gemini"
    dimensions: int | None = None


#: A callable gets the row as a dict of all columns and returns the REST request as a dict.
RequestSpec: TypeAlias = GenerateRequest | EmbedRequest | RawRequest | Callable[[dict[str, Any]], dict[str, Any]]


def takes_json_as_text(request: RequestSpec) -> bool:
    """Whether the request is JSON of the source's own, which must then arrive as it stands in the file."""
    return isinstance(request, RawRequest)
