"""Media of a row: the parts of its request that come before the prompt's text.

Two invariants: row data alone never causes a local file to be read (a string is a URI that the service opens, unless the request
says ``upload``); and a part is what google-genai itself would send: URL-safe base64 for bytes, and for a file the service's own
URI, whatever base URL the connection has.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, overload

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.arrow.columns import large_binaries
from airflow_gemini_batch.engine.arrow.layouts import plain_type
from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.arrow.values import NoText, values_of
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.gemini.names import is_file_in_column
from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow, joined
from airflow_gemini_batch.engine.request.media_fingerprints import Fingerprints
from airflow_gemini_batch.engine.request.placeholders import Template
from airflow_gemini_batch.engine.request.templates import TemplateEncoder
from airflow_gemini_batch.engine.request.upload_roots import UploadRoots, roots_of
from airflow_gemini_batch.engine.run.media_manifest import MediaFile, uri_of
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.specs import Media

#: MIME types by file name ending. Not Python's table, which depends on the machine: the same rows must make the same requests.
#: These are the types that the Gemini API documents for images, documents, audio, video and text.
MIME_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".heic": "image/heic",
    ".heif": "image/heif", ".gif": "image/gif", ".bmp": "image/bmp",
    ".pdf": "application/pdf",
    ".wav": "audio/wav", ".mp3": "audio/mp3", ".aiff": "audio/aiff", ".aac": "audio/aac", ".ogg": "audio/ogg",
    ".flac": "audio/flac", ".m4a": "audio/m4a", ".opus": "audio/opus",
    ".mp4": "video/mp4", ".mpeg": "video/mpeg", ".mpg": "video/mpg", ".mov": "video/mov", ".avi": "video/avi",
    ".flv": "video/x-flv", ".webm": "video/webm", ".wmv": "video/wmv", ".3gp": "video/3gpp",
    ".txt": "text/plain", ".html": "text/html", ".htm": "text/html", ".css": "text/css", ".csv": "text/csv", ".xml": "text/xml",
    ".rtf": "text/rtf", ".md": "text/md",
}  # fmt: skip

#: The pseudo-column of a template that stands for the media; no table can have a column of that name.
_SLOT = "\0media"
_EMPTY_TEXT_START, _EMPTY_TEXT_END = b'{"text":"', b'"},'

_MIME_TYPE = re.compile(r"[A-Za-z0-9][\w.+-]*/[A-Za-z0-9*][\w.+*-]*", re.ASCII)
#: Files whose type the service knows itself, and pages of videos, which have none.
_KNOWN = re.compile(r"https://(generativelanguage\.googleapis\.com/\w+/files|(www\.)?youtube\.com|youtu\.be)/")
_SUFFIX = re.compile(r"\.[a-z0-9]+$")
_types = pa.types
_json = msgspec.json.Encoder()

#: One part of a request as JSON, and the file that must be at the service for it.
_Part = tuple[bytes, MediaFile | None]


@dataclass(frozen=True, slots=True)
class CheckedMedia:
    """A checked ``Media``: what kind of value its column holds."""

    media: Media
    holds_bytes: bool

    @property
    def columns(self) -> tuple[str, ...]:
        named = self.media.mime_type_column
        return (self.media.column,) if named is None else (self.media.column, named)


def media_columns(media: Any, schema: pa.Schema) -> tuple[CheckedMedia, ...]:
    """The media columns of a request. Raises InputError for one that does not fit a table of that schema."""
    given = (media,) if isinstance(media, (str, Media)) else media
    if not isinstance(given, Sequence) or not all(isinstance(item, (str, Media)) for item in given):
        raise InputError(f"media must be column names or Media objects, not {media!r}.")
    return tuple(_checked(Media(item) if isinstance(item, str) else item, schema) for item in given)


def media_slot(mark: str) -> dict[str, Template]:
    """The template that marks where the media go, for ``templates.cut_at``."""
    return {mark: Template(("", ""), (_SLOT,))}


@dataclass(frozen=True, slots=True)
class MediaEncoder:
    """A template filled with the parts of each row's media."""

    template: TemplateEncoder
    media: tuple[CheckedMedia, ...]
    locate: Callable[[str], Location]
    any_thread: ClassVar[bool] = False
    _before: TemplateEncoder = field(init=False, repr=False)
    _after: TemplateEncoder = field(init=False, repr=False)
    _fingerprints: Fingerprints = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pieces, values = self.template.pieces, self.template.values
        slot = values.index(_SLOT)
        head = (*pieces[:slot], pieces[slot].removesuffix(_EMPTY_TEXT_START))
        tail = (pieces[slot + 1].removeprefix(_EMPTY_TEXT_END), *pieces[slot + 2 :])
        object.__setattr__(self, "_before", TemplateEncoder(head, values[:slot], {}))
        object.__setattr__(self, "_after", TemplateEncoder(tail, values[slot + 1 :], {}))
        roots = UploadRoots.of([root for column in self.media for root in roots_of(column.media.upload)])
        object.__setattr__(self, "_fingerprints", Fingerprints(roots.open_with(self.locate)))

    @property
    def columns(self) -> tuple[str, ...]:
        of_media = (name for column in self.media for name in column.columns)
        return tuple(dict.fromkeys((*self._before.columns, *self._after.columns, *of_media)))

    @property
    def spec(self) -> dict[str, Any]:
        media = [{**asdict(column.media), "upload": list(roots_of(column.media.upload))} for column in self.media]
        return {**self.template.spec, "media": media}

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        before, after = self._before.encode(batch), self._after.encode(batch)
        columns_of_parts = [_parts(column, batch, self._fingerprints) for column in self.media]
        problems: dict[int, str] = {}
        content: list[bytes | None] = []
        media: list[tuple[MediaFile, ...]] = []
        for row, of_row in enumerate(zip(*columns_of_parts, strict=True)):
            reasons = [encoded.problems[row] for encoded in (before, after) if row in encoded.problems]
            reasons += [parts.message for parts in of_row if isinstance(parts, InvalidRow)]
            if reasons:
                problems[row] = "; ".join(reasons)
            parts = [part for parts in of_row if not isinstance(parts, InvalidRow) for part in parts]
            content.append(None if reasons else b"".join([part for part, _ in parts]))
            media.append(() if reasons else tuple(dict.fromkeys(file for _, file in parts if file is not None)))
        requests = joined(before.requests, large_binaries(content), after.requests, length=batch.num_rows)
        return Encoded(requests, problems, media if any(media) else ())


# --- checking


def _checked(media: Media, schema: pa.Schema) -> CheckedMedia:
    named = [name for name in (media.column, media.mime_type_column) if name is not None]
    if not all(isinstance(name, str) for name in named):
        raise InputError(f"media: a column is given by its name (str); {media!r} has something else.")
    require_columns(named, schema, by="media")
    if media.mime_type is not None and not (isinstance(media.mime_type, str) and _MIME_TYPE.fullmatch(media.mime_type)):
        raise InputError(f"media: {media.mime_type!r} is not a MIME type; expected one such as 'image/png'.")
    roots_of(media.upload)
    item = _item_type(plain_type(schema.field(media.column).type))
    if not _is_text(item) and not _is_bytes(item):
        raise InputError(
            f"media names the column {media.column!r}, which is of type {schema.field(media.column).type}; "
            "expected URIs as text, or bytes, or lists of either."
        )
    if _is_bytes(item) and media.upload:
        raise InputError(f"media: the column {media.column!r} holds bytes, which are sent inside the request: leave out upload.")
    if _is_bytes(item) and media.mime_type is None and media.mime_type_column is None:
        raise InputError(
            f"media: the column {media.column!r} holds bytes, whose MIME type is not known. "
            f"Write Media({media.column!r}, mime_type='image/png'), or name the column that holds it with mime_type_column."
        )
    if media.mime_type_column is not None:
        kind = _item_type(plain_type(schema.field(media.mime_type_column).type))
        if not _is_text(kind):
            raise InputError(f"media: the column {media.mime_type_column!r} has type {kind}; expected MIME types as text.")
    return CheckedMedia(media, _is_bytes(item))


def _item_type(type: pa.DataType) -> pa.DataType:
    is_list = _types.is_list(type) or _types.is_large_list(type) or _types.is_fixed_size_list(type)
    return type.value_type if is_list else type


def _is_text(type: pa.DataType) -> bool:
    return bool(_types.is_string(type) or _types.is_large_string(type) or _types.is_null(type))


def _is_bytes(type: pa.DataType) -> bool:
    return bool(_types.is_binary(type) or _types.is_large_binary(type) or _types.is_fixed_size_binary(type))


# --- rows


class _Unusable(Exception):
    """Why a value cannot become a part, worded for the dead letter."""


def _parts(column: CheckedMedia, batch: pa.RecordBatch, fingerprints: Fingerprints) -> list[list[_Part] | InvalidRow]:
    """The parts of every row, each followed by its comma."""
    media = column.media
    values = values_of(batch.column(media.column))
    kinds = [None] * len(values) if media.mime_type_column is None else values_of(batch.column(media.mime_type_column))
    if media.upload:
        fingerprints.prepare([item for value in values for item in _items(value) if isinstance(item, str) and item])
    return [_row(column, value, kind, fingerprints) for value, kind in zip(values, kinds, strict=True)]


def _row(column: CheckedMedia, value: Any, kind: Any, fingerprints: Fingerprints) -> list[_Part] | InvalidRow:
    media = column.media
    items = _items(value)
    kinds = kind if isinstance(kind, list) else [kind] * len(items)
    try:
        if not items and media.required:
            raise _Unusable("is null" if value is None else "is an empty list")
        if len(kinds) != len(items):
            raise _Unusable(f"has {len(items)} values, {media.mime_type_column!r} has {len(kinds)} MIME types")
        parts = []
        for position, (item, its_kind) in enumerate(zip(items, kinds, strict=True)):
            if item is None and not media.required:
                continue
            where = f"at position {position} " if isinstance(value, list) else ""
            try:
                parts.append(_part(column, item, its_kind, fingerprints))
            except _Unusable as why:
                raise _Unusable(f"{where}{why}") from None
        return parts
    except _Unusable as why:
        return InvalidRow(f"media column {media.column!r} {why}")


def _part(column: CheckedMedia, item: Any, kind: Any, fingerprints: Fingerprints) -> _Part:
    if item is None:
        raise _Unusable("is null")
    if isinstance(item, NoText):
        raise _Unusable(item.reason)
    if not item:
        raise _Unusable("is empty")
    media = column.media
    if column.holds_bytes:
        mime_type = _mime_type(media, kind, "")
        return b'{"inline_data":{"data":"%b","mime_type":%b}},' % (base64.urlsafe_b64encode(item), _json.encode(mime_type)), None
    if not media.upload:
        uri = _service_uri(item, media.column)
        return _file_part(uri, _mime_type(media, kind, item, required=not _KNOWN.match(uri))), None
    mime_type = _mime_type(media, kind, item)
    found = fingerprints.of(item)
    if isinstance(found, str):
        raise _Unusable(found)
    file = MediaFile.of(item, mime_type, found)
    return _file_part(uri_of(file.name), mime_type), file


def _file_part(uri: str, mime_type: str | None) -> bytes:
    if mime_type is None:
        return b'{"file_data":{"file_uri":%b}},' % _json.encode(uri)
    return b'{"file_data":{"file_uri":%b,"mime_type":%b}},' % (_json.encode(uri), _json.encode(mime_type))


def _service_uri(text: str, column: str) -> str:
    if is_file_in_column(text):
        return uri_of(text)
    if text.startswith(("https://", "gs://")):
        return text
    raise _Unusable(
        f"holds {text[:80]!r}, which the service cannot open: expected files/…, https://… or gs://…. "
        f"To have files read and uploaded, write Media({column!r}, upload=[…]) with the folders that rows may name files in"
    )


@overload
def _mime_type(media: Media, kind: Any, name: str) -> str: ...
@overload
def _mime_type(media: Media, kind: Any, name: str, *, required: bool) -> str | None: ...
def _mime_type(media: Media, kind: Any, name: str, *, required: bool = True) -> str | None:
    """From the row's own column, else the argument, else the ending of the name."""
    if isinstance(kind, NoText):
        raise _Unusable(f"has a MIME type in {media.mime_type_column!r} that {kind.reason}")
    path = name.partition("?")[0].partition("#")[0] if "://" in name else name
    suffix = _SUFFIX.search(path.rpartition("/")[2].lower())
    found = kind or media.mime_type or (suffix and MIME_TYPES.get(suffix[0]))
    if not found and not required:
        return None
    if not found:
        named = f" of {name[:80]!r}" if name else ""
        raise _Unusable(f"has no known MIME type{named}: give mime_type= or mime_type_column= to Media({media.column!r})")
    if not _MIME_TYPE.fullmatch(found):
        raise _Unusable(f"has {found[:80]!r} as its MIME type; expected one such as 'image/png'")
    return str(found)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
