"""What is asked for each row: the request specifications that users write.

These classes only hold what the user wrote; they can be compared, pickled and serialised with a DAG. They are checked against the
source and the model by ``request.encoding.compile_request``, which raises InputError before anything is written or sent.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from google.genai import types


class _Serializable:
    """A request as plain JSON values, under the names that Airflow's XCom calls."""

    _type: ClassVar[str]

    def serialize(self) -> dict[str, Any]:
        """``type`` and the fields that differ from their defaults. ``request_of`` reads it.

        A schema that is a class becomes its JSON Schema. A Python function among the tools becomes its name, which is refused
        when it is read.
        """
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        given = {field.name: getattr(self, field.name) for field in fields}
        given = {field.name: given[field.name] for field in fields if given[field.name] != field.default}
        if "response_schema" in given:
            given["response_schema"] = _plain_schema(given["response_schema"])
        return {"type": self._type, **{name: _plain(value) for name, value in given.items()}}

    @staticmethod
    def deserialize(data: Mapping[str, Any], version: int) -> GenerateRequest | EmbedRequest | RawRequest:
        return request_of(data)


@dataclass(frozen=True)
class Media:
    """A column that holds images, documents, audio or video.

    Its values are bytes, which are sent inside the request, or URIs that the service opens: a name of the Files API
    (``files/…``), that file's whole URI, ``https://…``, or ``gs://…`` of a registered file. A list of either makes several parts.

    :param column: the column's name.
    :param mime_type: the MIME type of every value, such as ``image/png``. Default: by ``mime_type_column``, else by the ending
        of the file's name; bytes need one of the two.
    :param mime_type_column: a column with the MIME type of each row; it takes precedence over ``mime_type``. Default: none.
    :param upload: the places below which the values name files, as a path or URI of a folder or a list of them, such as
        ``["s3://bucket/in/", "https://cdn.example.com/"]``. The files are read while the run is built and uploaded before it is
        submitted, once for each distinct content, at most 2 GB each (Files API). A value that leads elsewhere makes its row a
        dead letter. Default: False, the values are no files of ours.
    :param required: whether a row without a value becomes a dead letter (INVALID_INPUT). Default: True; False sends its request
        without that part.
    """

    column: str
    mime_type: str | None = None
    mime_type_column: str | None = None
    upload: bool | str | Sequence[str] = False
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(_Serializable):
    """Ask the model one question for each row.

    ``${column}`` in the texts stands for the row's value. The grammar is that of :class:`string.Template` (PEP 292), with any
    column name between the braces, spaces and dots included. A bare ``$column`` is a placeholder too; ``$$`` is a literal dollar
    sign, and so is a ``$`` before anything that cannot begin a name, as in ``$5``. Values are inserted as they are: ``$``,
    ``{{ }}`` and quotes in the data have no meaning.

    A system instruction is filled wherever it is given, in ``config`` too. In every other text of the config and of the response
    schema a dollar is sent as it is; ``${`` is refused there, because nothing would fill it, and ``$${`` stands for it.

    :param prompt: the text of the user's turn.
    :param system_instruction: the system instruction. Default: none; it cannot be given both here and in ``config``.
    :param config: any field of :class:`google.genai.types.GenerateContentConfig`, as an instance or as a dict with keys in
        camelCase or snake_case; the same for every row. Default: none.
    :param config_column: a column with a config for each row, as a struct, a map or the text of a JSON object. Each field that it
        sets replaces the same field of ``config``. It is data: no placeholder in it is filled, and a row whose config holds
        ``${`` becomes a dead letter (INVALID_INPUT), unless it is written ``$${``. Default: none.
    :param response_schema: a pydantic model, a ``list[Model]`` or a JSON Schema, as a dict or as JSON text. The answer must be
        JSON that is valid for it, and becomes the ``parsed`` column. Default: none.
    :param media: columns that hold images, documents, audio or video, by name or as :class:`Media`. Their parts come before the
        prompt's text, in this order. Default: none.
    """

    _type: ClassVar[str] = "generate"

    prompt: str
    system_instruction: str | None = None
    config: Mapping[str, object] | types.GenerateContentConfigOrDict | None = None
    response_schema: Any | None = None
    config_column: str | None = None
    media: Sequence[str | Media] = ()


@dataclass(frozen=True, kw_only=True)
class EmbedRequest(_Serializable):
    """Make an embedding of a text of each row.

    :param text: the text to embed, with placeholders as in :class:`GenerateRequest`.
    :param config: any field of :class:`google.genai.types.EmbedContentConfig`, as an instance or as a dict; the same for every
        row, except that ``title`` may hold placeholders too. Default: none. Without ``output_dimensionality`` the model's default
        dimension is requested explicitly, so that all vectors have the same length.
    """

    _type: ClassVar[str] = "embed"

    text: str
    config: Mapping[str, object] | types.EmbedContentConfigOrDict | None = None


@dataclass(frozen=True)
class RawRequest(_Serializable):
    """Send REST requests that the table already holds.

    :param column: the column with one ``GenerateContentRequest`` or ``EmbedContentRequest`` in each row, as the text of a JSON
        object; in JSON Lines, as an object too. It is sent token by token as it is; only white space between tokens is removed.
        Default: ``request``.
    :param format: what the column holds. ``gemini`` (default) and ``gemini-embeddings``: requests of the Gemini API. ``openai``
        and ``openai-embeddings``: the ``body`` of an OpenAI batch file, of chat completions or embeddings, which is converted; a
        row that cannot be converted becomes a dead letter (INVALID_INPUT).
    :param dimensions: for the two embeddings formats: the length of the vectors, the same for all rows. Default (None): the
        model's own.
    :param response_schema: as in :class:`GenerateRequest`. The answers are validated against it and become the ``parsed`` column;
        the requests are not changed, so they must ask for it themselves. Not for embeddings. Default: none.
    """

    _type: ClassVar[str] = "raw"

    column: str = "request"
    format: Literal["gemini", "gemini-embeddings", "openai", "openai-embeddings"] = "gemini"
    dimensions: int | None = None
    response_schema: Any | None = None


#: A callable takes the row as a dict of all its columns and returns the REST request as a dict.
RequestSpec: TypeAlias = GenerateRequest | EmbedRequest | RawRequest | Callable[[dict[str, Any]], dict[str, Any]]


def takes_json_as_text(request: RequestSpec) -> bool:
    """Whether the request is JSON from the source itself, which must be read exactly as the file has it."""
    return isinstance(request, RawRequest)


#: By the ``type`` of the plain form.
_KINDS: dict[str, type[GenerateRequest] | type[EmbedRequest] | type[RawRequest]] = {
    kind._type: kind for kind in (GenerateRequest, EmbedRequest, RawRequest)
}

#: The member that stands for bytes in the plain form.
_BYTES = "$bytes"

_IS_DATA = "_is_data"


def request_of(form: Mapping[str, Any]) -> GenerateRequest | EmbedRequest | RawRequest:
    """A request from its plain form: ``{"type": "generate", "prompt": …}``, with ``embed`` and ``raw`` likewise.

    Such a request was made by a program, perhaps from data, so its texts are not templates of the DAG: see ``is_data``. Raises
    InputError for a type or a field that does not exist.
    """
    given = {name: _restored(value) for name, value in form.items() if name != "type"}
    kind = _KINDS.get(form["type"]) if isinstance(form.get("type"), str) else None
    if kind is None:
        raise InputError(f"request is a dict of type {form.get('type')!r}; expected one of {', '.join(map(repr, _KINDS))}.")
    try:
        if isinstance(media := given.get("media"), list):
            given["media"] = tuple(Media(**one) if isinstance(one, Mapping) else one for one in media)
        request = kind(**given)
    except TypeError as error:  # an argument that is missing or unknown
        names = ", ".join(field.name for field in dataclasses.fields(kind))
        raise InputError(f"request is not a {kind.__name__}: {error}. Its fields: {names}.") from None
    object.__setattr__(request, _IS_DATA, True)
    return request


def is_data(request: object) -> bool:
    """Whether the request was read from its plain form, and not written in the DAG: Jinja in it has no meaning."""
    return getattr(request, _IS_DATA, False)


def _plain(value: Any) -> Any:
    """JSON values in place of a config's objects."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, Media):
        given = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(inner) for name, inner in given.items() if inner != getattr(Media, name, dataclasses.MISSING)}
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return _plain(value.model_dump(exclude_unset=True))
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    return getattr(value, "__qualname__", None) or str(value)


def _plain_schema(schema: Any) -> Any:
    if isinstance(schema, (str, Mapping)):
        return schema
    import pydantic  # only where a class is given, whose module has imported it

    try:
        return pydantic.TypeAdapter(schema).json_schema()
    except (pydantic.errors.PydanticUserError, TypeError):
        return str(schema)  # building the run says why it cannot be one


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {_BYTES}:
            return base64.b64decode(value[_BYTES])
        return {name: _restored(inner) for name, inner in value.items()}
    return [_restored(inner) for inner in value] if isinstance(value, list) else value


def read_labels(labels: Any) -> dict[str, str]:
    """Who or what a run is for, such as ``{"team": "search"}``. Raises InputError for anything but texts."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or not all(_is_label(name) and _is_label(value) for name, value in labels.items()):
        raise InputError(f"labels is {labels!r}; expected a dict of texts that are not empty, such as {{'team': 'search'}}.")
    return dict(labels)


def require_sample(sample: Any) -> None:
    """Raise InputError unless it is a number of rows to draw, or None. One row says nothing about how rows differ."""
    if sample is not None and (not isinstance(sample, int) or isinstance(sample, bool) or sample < 2):
        raise InputError(
            f"sample is {sample!r}; expected a whole number of rows from 2, such as 50, or None for the whole table."
        )


def _is_label(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip()) and text.isprintable()
