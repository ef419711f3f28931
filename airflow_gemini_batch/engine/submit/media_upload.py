"""Files that requests name: uploaded once for each distinct content, before the job that needs them is created.

What must stay true: a file's name follows from its content and MIME type alone, so requests can be written before anything is
uploaded, and the same rows make the same requests in every run. What the service has under such a name is used only where its
size and hash are those of the build, and only while it outlives the job's window.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError, GeminiBatchError, InputError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.run.layout import Run, Shard, read_json
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES, Location

log = logging.getLogger(__name__)

#: Where the service says that its files are (File.uri, v1beta in all that it shows). It is a name and not an address: the service
#: resolves it itself, so it stays the same behind a proxy and with any API version.
_FILES = "https://generativelanguage.googleapis.com/v1beta/"

#: With 36 hex digits: the 40 characters that a file's id may have (Files API).
_PREFIX = "gbm-"
_NAME = re.compile(rf"files/{_PREFIX}[0-9a-f]{{36}}(?![0-9a-z-])")

#: The Files API takes 2 GB a file.
MAX_FILE_BYTES = 2 * 1024**3

#: The service aims at 24 h for a job; a file that expires earlier is uploaded anew, for another 48 h.
MUST_LIVE = timedelta(hours=24)

#: Files that are read, looked up or sent at a time.
_AT_ONCE = 4
#: Fingerprints kept in memory, so that memory does not grow with the table.
_REMEMBERED = 20_000
#: Video is looked through by the service before it can be used; minutes for an hour of it.
_PROCESSING_SECONDS = 1800.0
_LOOK_EVERY = 2.0


class Fingerprint(msgspec.Struct, frozen=True):
    """What a file was when the run was built."""

    sha256: str
    size: int


class MediaFile(msgspec.Struct, frozen=True):
    """A file that requests name.

    :param name: ``files/gbm-…``, at the service.
    :param source: the path or URI that it is read from.
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
    """How a request names a file of the Files API."""
    return f"{_FILES}{name}"


def files_named(request: bytes, known: Mapping[str, MediaFile]) -> tuple[MediaFile, ...]:
    """Those of the known files that a written request names."""
    names = dict.fromkeys(_NAME.findall(request.decode(errors="replace")))
    return tuple(known[name] for name in names if name in known)


# --- building


class Fingerprints:
    """Of the files that rows name: each is read once, streamed, while it is remembered."""

    def __init__(self, locate: Callable[[str], Location]) -> None:
        self._locate = locate
        self._known: OrderedDict[str, Fingerprint | str] = OrderedDict()

    def prepare(self, sources: Iterable[str]) -> None:
        """Read several at a time; more than are remembered stay no longer than until the next call."""
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        new = [source for source in dict.fromkeys(sources) if source not in self._known]
        if new:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                self._known.update(zip(new, pool.map(self._read, new), strict=True))

    def of(self, source: str) -> Fingerprint | str:
        """What the file is, or why there is none, in words for the dead letter."""
        if source not in self._known:
            self.prepare([source])
        return self._known[source]

    def _read(self, source: str) -> Fingerprint | str:
        digest, size = hashlib.sha256(), 0
        try:
            with self._locate(source).open() as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                    size += len(block)
                    if size > MAX_FILE_BYTES:
                        return f"names {source!r}, which has more than the {MAX_FILE_BYTES:,} bytes that the Files API takes"
        except _ABSENT as error:
            if outage := _outage(source, error):
                raise _unreadable(source, outage) from error
            return f"names {source!r}, which cannot be read: {_reason(error)}"
        except (GeminiBatchError, MemoryError):
            raise
        except Exception as error:  # whatever the object store's own client raises
            if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP):
                return f"names {source[:80]!r}, which cannot be read: {_reason(error)}"
            raise _unreadable(source, error) from error
        return Fingerprint(digest.hexdigest(), size) if size else f"names {source!r}, which is empty"


#: A ValueError is what fsspec says to a scheme that it does not know, and Python to a path with a zero byte.
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, ValueError)


#: Answers of a web host that say nothing of the file: Request Timeout, Too Early, Too Many Requests.
_LATER = (408, 425, 429)


def _unreadable(source: str, error: BaseException) -> InputError:
    return InputError(
        f"Cannot read the media file {source!r}: {type(error).__name__}: {error}. Nothing was sent. "
        "If the store was only out of reach, run the same again."
    )


def _outage(source: str, error: Exception) -> BaseException | None:
    """What kept a web host from saying whether it has the file: fsspec says FileNotFoundError to that as well."""
    cause = error.__cause__
    if cause is None or isinstance(cause, ValueError) or not source.lower().startswith(("http://", "https://")):
        return None
    status = getattr(cause, "status", None)
    is_answer = isinstance(status, int) and status < 500 and status not in _LATER
    return None if is_answer else cause


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    if isinstance(error, FileNotFoundError) and text is None:  # object stores say the path alone
        text = os.strerror(errno.ENOENT)
    return text or str(error)[:200] or type(error).__name__


# --- the run's own list


def read_media(run: Run, shard: Shard) -> list[MediaFile]:
    """The files that a shard needs. Raises CorruptRunError when the list is not what the build wrote."""
    if not shard.media:
        return []
    file = run.media_file(shard.id)
    media = read_json(file, list[MediaFile]) or []
    if len(media) != shard.media:
        raise CorruptRunError(
            f"{file} names {len(media)} media files, shard {shard.id} needs {shard.media}. Nothing was sent. "
            "Restore the file, or start anew with if_exists='replace'."
        )
    return media


def media_of(run: Run) -> Iterator[MediaFile]:
    """Every file that the run's requests name, each once.

    Other runs name the same files where the content is the same: whoever deletes one has to know that no unfinished run needs
    it. All expire by themselves, 48 h after their upload.
    """
    seen: set[str] = set()
    for shard in Ledger(run).shards(run.built()):
        for file in read_media(run, shard):
            if file.name not in seen:
                seen.add(file.name)
                yield file


# --- sending


def send_media(run: Run, shard: Shard, client: GeminiClient, *, now: Callable[[], float] = time.time) -> None:
    """Make sure that the service has every file that the shard's requests name, for long enough. May be repeated."""
    media = read_media(run, shard)
    if not media:
        return
    sender = _Sender(run.locate, client, now)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sent = _all(pool, sender.ensure, media)
    log.info("Shard %s: %d media files, %d of them uploaded now.", shard.id, len(media), sum(sent))


def _all(pool: ThreadPoolExecutor, ensure: Callable[[MediaFile], bool], media: Sequence[MediaFile]) -> list[bool]:
    """As ``pool.map``, but what has not begun is left when one fails."""
    futures = [pool.submit(ensure, file) for file in media]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


@dataclass(frozen=True, slots=True)
class _Sender:
    locate: Callable[[str], Location]
    client: GeminiClient
    now: Callable[[], float]

    def ensure(self, file: MediaFile) -> bool:
        """True when it was uploaded by this call."""
        there = self._settled(file, self.client.get_file(file.name))
        if there is not None:
            if is_good(there, file) and outlives(there, self.now()):
                return False
            log.info("Media file %s (%s) is broken or expires too soon; uploading it again.", file.name, file.source)
            self.client.delete_file(file.name)
        try:
            sent = self._upload(file)
        except RefusedError as error:
            if error.code != 409:
                raise
            # Another try was faster, or the name belongs to somebody whose files this key cannot see.
            there = self._settled(file, self.client.get_file(file.name))
            if there is None or not is_same(there, file):
                raise RefusedError(
                    f"The media file {file.source!r} cannot be uploaded: the service says that {file.name} exists, "
                    "and does not give it to this API key. "
                    "Perhaps another project has it; it expires within 48 h. No job was created. "
                    "Use that project's key, or upload the file yourself and put its files/… name into the table.",
                    code=error.code, status=error.status,
                ) from error  # fmt: skip
            return False
        there = self._settled(file, sent) or sent
        if not is_same(there, file):
            try:
                self.client.delete_file(sent.name)
            except ServiceError as error:  # what is wrong with the file matters more, and is_same() finds it again
                log.warning("%s could not be deleted: %s", sent.name, error)
            raise InputError(_changed(file, f"the service received {sent.size} bytes with sha256 {(sent.sha256 or '?')[:12]}…"))
        if not there.is_usable:
            # Its rows fail alone, as dead letters: one broken video must not keep all other rows from being sent.
            log.warning("The service cannot process the media file %s (%s). Rows that name it will fail.", file.name, file.source)
        return True

    def _upload(self, file: MediaFile) -> RemoteFile:
        try:
            place = self.locate(file.source)
            if (size := place.size()) != file.size:
                raise InputError(_changed(file, f"it has {size:,} bytes now"))
            with place.open() as content:
                return self.client.upload(
                    content, name=file.name, display_name=f"media {place.name}"[:512], mime_type=file.mime_type
                )
        except (FileNotFoundError, PermissionError) as error:
            if outage := _outage(file.source, error):
                raise _unreadable(file.source, outage) from error
            raise InputError(_changed(file, f"it cannot be read: {_reason(error)}")) from error

    def _settled(self, file: MediaFile, there: RemoteFile | None) -> RemoteFile | None:
        """The file after the service has looked through it."""
        until = time.monotonic() + _PROCESSING_SECONDS
        while there is not None and there.is_processing:
            if time.monotonic() > until:
                raise ServiceError(
                    f"The service has not finished processing {file.name} ({file.source!r}) within {_PROCESSING_SECONDS:.0f} s. "
                    "No job was created; run the same again to go on waiting."
                )
            time.sleep(_LOOK_EVERY)
            there = self.client.get_file(file.name)
        return there


def is_good(there: RemoteFile, file: MediaFile) -> bool:
    return there.is_usable and is_same(there, file)


def is_same(there: RemoteFile, file: MediaFile) -> bool:
    return there.size in (None, file.size) and there.sha256 in (None, file.sha256)


def outlives(there: RemoteFile, now: float) -> bool:
    """Whether the file is there until a job that is created now should have ended."""
    return there.expires is None or there.expires >= datetime.fromtimestamp(now, timezone.utc) + MUST_LIVE


def _changed(file: MediaFile, what: str) -> str:
    return (
        f"The media file {file.source!r} had {file.size:,} bytes with sha256 {file.sha256[:12]}… when the run was built; {what}. "
        "No job was created. Restore the file, or start anew with if_exists='replace'."
    )
