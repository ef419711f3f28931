"""Media made by the model: the inline data of an answer as the ``media`` column, or as files with their URIs in the column.

Files are named after the run, the shard and the key alone, so landing again writes the same files.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from array import array
from collections.abc import Sequence

import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.response.candidates import Blob, first_candidate
from airflow_gemini_batch.engine.response.responses import Answer
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.shapes.extra_fields import media_type

#: Not ``mimetypes``, which depends on what is installed on the machine.
SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "audio/wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/l16": ".pcm",  # the answer of speech models: samples without a header
    "video/mp4": ".mp4",
    "application/pdf": ".pdf",
}

_MEMBERS = (b"inlineData", b"inline_data")


class GeneratedMediaColumn:
    """The ``media`` column: null where an answer holds none.

    :param folder: receives one file for each medium, and the column their URIs; None: the column holds the bytes.
    """

    name = "media"

    def __init__(self, folder: Location | None = None) -> None:
        self._folder = folder
        self.type: pa.DataType = media_type(as_files=folder is not None)

    def read(self, answers: Sequence[Answer]) -> tuple[pa.Array, dict[int, str]]:
        """One list for each answer, and the problems of answers whose media cannot be read."""
        problems: dict[int, str] = {}
        media: list[list[Blob] | None] = []
        for place, answer in enumerate(answers):
            has_some = any(member in answer.response for member in _MEMBERS)  # others are not decoded
            parts = first_candidate(answer.response).parts if has_some else []
            blobs = [part.inline_data for part in parts if part.inline_data is not None and not part.thought]
            if any(blob.data is None for blob in blobs):
                problems[place] = "the answer holds inline data that is not base64"
                blobs = []
            media.append(blobs or None)
        return self._column(answers, media), problems

    def _column(self, answers: Sequence[Answer], media: Sequence[list[Blob] | None]) -> pa.Array:
        blobs = list(itertools.chain.from_iterable(filter(None, media)))
        if self._folder is None:
            second = columns.binaries([blob.data for blob in blobs])
        else:
            second = columns.strings(self._written(self._folder, answers, media))
        mime_types = columns.strings([blob.mime_type for blob in blobs])
        items = pa.Array.from_buffers(self.type.value_type, len(blobs), [None], children=[mime_types, second])
        offsets = array("i", itertools.accumulate((len(one or ()) for one in media), initial=0))
        return pa.Array.from_buffers(self.type, len(media), [columns.validity(media), pa.py_buffer(offsets)], children=[items])

    def _written(self, folder: Location, answers: Sequence[Answer], media: Sequence[list[Blob] | None]) -> list[str]:
        uris = []
        for answer, blobs in zip(answers, media, strict=True):
            for number, blob in enumerate(blobs or ()):
                file = folder / f"{file_name(answer.key)}-{number}{_suffix(blob.mime_type or '')}"
                file.write(blob.data or b"")
                uris.append(file.uri)
        return uris


def _suffix(mime_type: str) -> str:
    """The suffix for the type without its parameters (``audio/L16;codec=pcm;rate=24000``)."""
    return SUFFIXES.get(mime_type.partition(";")[0].strip().lower(), ".bin")


def file_name(key: str) -> str:
    """A name that any store accepts, readable where the key allows it, and unique to the key."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", key)[:60]
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
