"""Fingerprints of the media files that rows name, read while requests are built.

A file that does not exist, cannot be opened or is empty is a problem of its row. A store that does not answer stops the build: an
outage must not turn good rows into dead letters.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from airflow_gemini_batch.engine.errors import GeminiBatchError, InputError
from airflow_gemini_batch.engine.run.media_manifest import Fingerprint
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES, Location

#: The Files API takes 2 GB for one file.
MAX_FILE_BYTES = 2 * 1024**3

#: Files that are read at the same time.
_PARALLEL_READS = 4
#: Fingerprints kept in memory, so that memory does not grow with the table.
_REMEMBERED = 20_000

#: Raised when the file to open does not exist. fsspec raises ValueError for a scheme that it does not know, and Python
#: for a path with a zero byte.
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, ValueError)

#: Numbers of errors that a path itself causes: too long, not valid, a loop of links.
_BAD_PATH = (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)

#: Answers of a web server that say nothing about the file: Request Timeout, Too Early, Too Many Requests.
_LATER = (408, 425, 429)


class Fingerprints:
    """Reads each file once, in blocks, for as long as its fingerprint is remembered.

    :param locate: opens a path or URI.
    """

    def __init__(self, locate: Callable[[str], Location]) -> None:
        self._locate = locate
        self._known: OrderedDict[str, Fingerprint | str] = OrderedDict()

    def prepare(self, sources: Iterable[str]) -> None:
        """Read several files in parallel. What exceeds the limit of remembered files is kept until the next call only.

        Raises InputError if a store does not answer.
        """
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        new = [source for source in dict.fromkeys(sources) if source not in self._known]
        if new:
            with ThreadPoolExecutor(_PARALLEL_READS) as pool:
                self._known.update(zip(new, pool.map(self._read, new), strict=True))

    def of(self, source: str) -> Fingerprint | str:
        """The file's fingerprint, or the reason why it cannot be used, worded for the dead letter."""
        if source not in self._known:
            self.prepare([source])
        return self._known[source]

    def _read(self, source: str) -> Fingerprint | str:
        try:
            return self._digest(source)
        except _ABSENT as error:
            if outage := outage_behind(source, error):
                raise unreadable(source, outage) from error
            return f"names {source!r}, which cannot be read: {reason_of(error)}"
        except (GeminiBatchError, MemoryError):
            raise
        except Exception as error:  # whatever the object store's own client raises
            if isinstance(error, OSError) and error.errno in _BAD_PATH:
                return f"names {source[:80]!r}, which cannot be read: {reason_of(error)}"
            raise unreadable(source, error) from error

    def _digest(self, source: str) -> Fingerprint | str:
        digest, size = hashlib.sha256(), 0
        with self._locate(source).open() as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                size += len(block)
                if size > MAX_FILE_BYTES:
                    return f"names {source!r}, which has more than the {MAX_FILE_BYTES:,} bytes that the Files API takes"
        return Fingerprint(digest.hexdigest(), size) if size else f"names {source!r}, which is empty"


def unreadable(source: str, error: BaseException) -> InputError:
    """The error for a media file whose store does not answer."""
    return InputError(
        f"Cannot read the media file {source!r}: {type(error).__name__}: {error}. Nothing was sent. "
        "If the store was temporarily unreachable, run the same again."
    )


def outage_behind(source: str, error: Exception) -> BaseException | None:
    """The failure that kept a web server from saying whether it has the file; None if it did say so.

    fsspec raises FileNotFoundError for both, with the failure as its cause.
    """
    cause = error.__cause__
    if cause is None or isinstance(cause, ValueError) or not source.lower().startswith(("http://", "https://")):
        return None
    status = getattr(cause, "status", None)
    is_answer = isinstance(status, int) and status < 500 and status not in _LATER
    return None if is_answer else cause


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    text = error.strerror if isinstance(error, OSError) else None
    if isinstance(error, FileNotFoundError) and text is None:  # object stores give the path alone
        text = os.strerror(errno.ENOENT)
    return text or str(error)[:200] or type(error).__name__
