"""Sends the media files that a shard's requests name: once for each distinct content, before the shard's job is created.

Invariant: what the service already has under a file's name is used only if its size and hash are those of the build, and only if
it outlives the job's window.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_gemini_batch.engine.errors import InputError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.request.media_fingerprints import outage_behind, reason_of, unreadable
from airflow_gemini_batch.engine.request.upload_roots import UploadRoots
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.media_manifest import MediaFile, read_media
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

#: The service aims at 24 h for a job; a file that expires earlier is uploaded anew, for another 48 h.
MUST_LIVE = timedelta(hours=24)

#: Files that are looked up or sent at the same time.
_PARALLEL_UPLOADS = 4
#: The service processes a video before it can be used; minutes for an hour of it.
_PROCESSING_SECONDS = 1800.0
#: Seconds between two checks of whether it has.
_CHECK_EVERY = 2.0


def send_media(
    run: Run, shard: Shard, client: GeminiClient, request: Mapping[str, Any], *, now: Callable[[], float] = time.time
) -> None:
    """Make sure that the service has every file that the shard's requests name, for long enough. May be repeated.

    :param request: of the manifest; it says where files may be read.
    """
    media = read_media(run, shard)
    if not media:
        return
    sender = _Sender(UploadRoots.of_request(request).open_with(run.locate), client, now)
    with ThreadPoolExecutor(_PARALLEL_UPLOADS) as pool:
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
            # Another try was faster, or the name belongs to another project whose files this key cannot see.
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
            if outage := outage_behind(file.source, error):
                raise unreadable(file.source, outage) from error
            raise InputError(_changed(file, f"it cannot be read: {reason_of(error)}")) from error

    def _settled(self, file: MediaFile, there: RemoteFile | None) -> RemoteFile | None:
        """The file after the service has processed it."""
        until = time.monotonic() + _PROCESSING_SECONDS
        while there is not None and there.is_processing:
            if time.monotonic() > until:
                raise ServiceError(
                    f"The service has not finished processing {file.name} ({file.source!r}) within {_PROCESSING_SECONDS:.0f} s. "
                    "No job was created; run the same again to go on waiting."
                )
            time.sleep(_CHECK_EVERY)
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
        "No job was created. Restore the file, or start over with if_exists='replace'."
    )
