"""The media files that a run's requests name: their names at the service, and the list that is kept beside each shard.

Invariant: a file's name follows from its content and MIME type alone. So requests can be written before anything is uploaded, and
the same rows make the same requests in every run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.run.layout import Run, Shard, read_json
from airflow_gemini_batch.engine.run.snapshot import Snapshot

#: The start of every File.uri that the service returns (always v1beta, in all published examples). It is an identifier, not an
#: address: the service resolves it itself, so it is the same behind a proxy and with any API version.
_FILES = "https://generativelanguage.googleapis.com/v1beta/"

#: With 36 hex digits this makes the 40 characters that a file's id may have (Files API).
_PREFIX = "gbm-"
_NAME = re.compile(rf"files/{_PREFIX}[0-9a-f]{{36}}(?![0-9a-z-])")


class Fingerprint(msgspec.Struct, frozen=True):
    """A file's content when the run was built. ``sha256`` is in hex, ``size`` in bytes."""

    sha256: str
    size: int


class MediaFile(msgspec.Struct, frozen=True):
    """A file that requests name.

    :param name: ``files/gbm-…``, its name at the service.
    :param source: the path or URI that it is read from.
    :param sha256: of its content when the run was built, in hex.
    :param size: in bytes, when the run was built.
    """

    name: str
    source: str
    mime_type: str
    sha256: str
    size: int

    @classmethod
    def of(cls, source: str, mime_type: str, found: Fingerprint) -> MediaFile:
        digest = hashlib.sha256(f"{found.sha256} {mime_type}".encode()).hexdigest()
        return cls(f"files/{_PREFIX}{digest[:36]}", source, mime_type, found.sha256, found.size)


def uri_of(name: str) -> str:
    """The URI under which a request names a file of the Files API.

    :param name: ``files/…``.
    """
    return f"{_FILES}{name}"


def files_named(request: bytes, known: Mapping[str, MediaFile]) -> tuple[MediaFile, ...]:
    """The known files that a written request names, in the order of their first appearance.

    :param known: name -> file.
    """
    names = dict.fromkeys(_NAME.findall(request.decode(errors="replace")))
    return tuple(known[name] for name in names if name in known)


def read_media(run: Run, shard: Shard) -> list[MediaFile]:
    """The files that a shard needs. Raises CorruptRunError if the list is not the one that the build wrote."""
    if not shard.media:
        return []
    file = run.media_file(shard.id)
    media = read_json(file, list[MediaFile]) or []
    if len(media) != shard.media:
        raise CorruptRunError(
            f"{file} names {len(media)} media files, but shard {shard.id} needs {shard.media}. Nothing was sent. "
            "Restore the file, or start over with if_exists='replace'."
        )
    return media


def media_of(run: Run) -> Iterator[MediaFile]:
    """Every file that the run's requests name, each once.

    Other runs name the same files where the content is the same, so do not delete one while an unfinished run needs it.
    All of them expire 48 hours after their upload (Files API).
    """
    seen: set[str] = set()
    for shard in Snapshot(run, run.built()).shards():
        for file in read_media(run, shard):
            if file.name not in seen:
                seen.add(file.name)
                yield file
