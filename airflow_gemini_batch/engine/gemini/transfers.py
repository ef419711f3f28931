"""Files to the service and back, continued where a connection broke.

google-genai begins an upload again after one dropped connection, and leaves a short file behind when a download is cut. Here
both go over the HTTP client that the SDK has been given, by what HTTP and Google's resumable uploads offer:

upload    a session (``X-Goog-Upload-Command: start``), then chunks at stated offsets; after a failure ``query`` says how much
          has arrived. The session's address is its only credential, so the API key goes with the start alone.
download  ``Range`` from the first byte that is missing. A service that does not know ranges answers with the whole file.

A service that has lost a session, or cannot say how much of it has arrived, gets the file from its beginning.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from google.genai import errors as sdk_errors

from airflow_gemini_batch.engine.errors import OutcomeUnknownError
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.transport import translated
from airflow_gemini_batch.engine.json.lenient import as_code, as_dict, read_any
from airflow_gemini_batch.engine.threads import require_wanted

log = logging.getLogger(__name__)

#: Bytes of one request of an upload: what google-genai sends, so that whatever stands in between lets it pass.
CHUNK_BYTES = 8 * 1024 * 1024

#: Bytes that are read and sent at a time.
_PIECE_BYTES = 512 * 1024

#: Seconds between two lines that say how far a transfer is.
_LOG_SECONDS = 30.0

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Wire:
    """Where files go, and by what.

    :param http: the client that stays at the connection's origin and bounds the time of each answer.
    :param base_url, api_version, api_key: of the endpoint.
    :param timeout: seconds without a byte.
    """

    http: Any
    base_url: str
    api_version: str
    api_key: str = field(repr=False)
    timeout: float

    def url(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}{path}"

    @property
    def key_header(self) -> dict[str, str]:
        return {"x-goog-api-key": self.api_key}


class Progress:
    """Says now and then how far a transfer is: nothing of one that is over within half a minute."""

    def __init__(self, doing: str, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        """
        :param total: bytes; None if they are not known.
        """
        self._doing, self._total, self._clock = doing, total, clock
        self._said = clock()

    def at(self, done: int) -> None:
        if self._clock() - self._said < _LOG_SECONDS:
            return
        self._said = self._clock()
        share = f" of {self._total / 1e6:,.1f} MB ({done / self._total:.0%})" if self._total else " MB"
        log.info("%s: %s%s.", self._doing, f"{done / 1e6:,.1f}", share)


class Upload:
    """One file on its way to the service. ``proceed`` may be called again after each failure, and then continues.

    :param file: seekable; sent from its beginning to its end.
    :param name: ``files/<id>``; None lets the service choose.
    :param mime_type: such as ``jsonl``.
    """

    def __init__(self, wire: Wire, file: BinaryIO, *, name: str | None, display_name: str, mime_type: str) -> None:
        self._wire, self._file = wire, file
        self._name, self._display_name, self._mime_type = name, display_name, mime_type
        self._size = file.seek(0, os.SEEK_END)
        self._session: str | None = None
        self._is_uncertain = False
        self._failed_queries = 0
        self._chunk_bytes = CHUNK_BYTES
        self._progress = Progress(f"Uploading {display_name}", self._size)
        self.received = 0

    def proceed(self) -> RemoteFile:
        """Send what the service does not have yet.

        Raises RefusedError with code 409 when the name is taken; OutcomeUnknownError or UnreachableError when ``proceed`` may be
        called again.
        """
        with translated(f"upload {self._display_name}"):
            done = self._query() if self._session is not None and self._is_uncertain else None
            if self._session is None:
                self._start()
            while done is None:
                done = self._send()
            return done

    def _start(self) -> None:
        self.received = 0
        about = {"display_name": self._display_name, "mime_type": self._mime_type, "size_bytes": self._size}
        answer = self._wire.http.post(
            self._wire.url(f"/upload/{self._wire.api_version}/files"),
            headers={**self._wire.key_header, **self._headers("start")},
            json={"file": {"name": self._name, **about} if self._name else about},
            timeout=self._wire.timeout,
        )
        sdk_errors.APIError.raise_for_response(answer)
        session = answer.headers.get("X-Goog-Upload-URL")
        if not session:
            raise OutcomeUnknownError(
                f"Could not upload {self._display_name}: the service's answer is not as documented "
                "(X-Goog-Upload-URL is missing)."
            )
        self._session, self._is_uncertain, self._failed_queries = session, False, 0
        self._chunk_bytes = _chunk_bytes(answer.headers.get("X-Goog-Upload-Chunk-Granularity"))

    def _send(self) -> RemoteFile | None:
        """Send one chunk. Returns the file when it was the last."""
        self._file.seek(self.received)
        end = min(self.received + self._chunk_bytes, self._size)
        self._is_uncertain = True
        command = "upload, finalize" if end == self._size else "upload"
        length = end - self.received
        headers = {"X-Goog-Upload-Offset": str(self.received), "Content-Length": str(length)}
        answer = self._post(command, headers, _pieces(self._file, length))
        if answer.status_code in (404, 410):
            self._session = None
            raise OutcomeUnknownError(
                f"Could not upload {self._display_name}: the service no longer knows the upload after {self.received:,} bytes."
            )
        sdk_errors.APIError.raise_for_response(answer)
        status = _status(answer)
        if command != "upload" and status in ("final", ""):
            return self._finished(answer)
        if status != "active" or command != "upload":
            raise OutcomeUnknownError(
                f"Could not upload {self._display_name}: after {end:,} of {self._size:,} bytes the service says "
                f"{status or 'nothing'!r} where {'active' if command == 'upload' else 'final'!r} was expected."
            )
        self._is_uncertain = False
        self.received = end
        self._progress.at(end)
        return None

    def _query(self) -> RemoteFile | None:
        """Ask how much has arrived. Forgets the session if the service does not say."""
        answer = self._post("query")
        if answer.status_code >= 500 and answer.status_code != 501 and self._failed_queries == 0:
            self._failed_queries += 1
            sdk_errors.APIError.raise_for_response(answer)
        status, received = _status(answer), answer.headers.get("X-Goog-Upload-Size-Received", "")
        if answer.is_success and status == "final" and "file" in _object(answer):
            return self._finished(answer)
        if answer.is_success and status == "active" and received.isdecimal() and int(received) <= self._size:
            self.received = int(received)
            self._is_uncertain = False
            log.info(
                "Continuing the upload of %s after %s of %s bytes.", self._display_name, f"{self.received:,}", f"{self._size:,}"
            )
            return None
        log.warning("The service cannot continue the upload of %s; it begins again.", self._display_name)
        self._session = None
        return None

    def _finished(self, answer: Any) -> RemoteFile:
        content = _object(answer)
        error = as_dict(content.get("error"))
        if code := as_code(error.get("code")):  # a name that is taken has been refused with 200, and the error as the body
            raise sdk_errors.APIError(code, {"error": error})
        file = RemoteFile.parse(as_dict(content.get("file")))
        if not file.name:
            raise OutcomeUnknownError(
                f"Could not upload {self._display_name}: the service's answer is not as documented (it names no file)."
            )
        return file

    def _post(self, command: str, headers: dict[str, str] | None = None, content: bytes | Iterator[bytes] = b"") -> Any:
        return self._wire.http.post(
            self._session, headers={**self._headers(command), **(headers or {})}, content=content, timeout=self._wire.timeout
        )

    def _headers(self, command: str) -> dict[str, str]:
        return {
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": command,
            "X-Goog-Upload-Header-Content-Length": str(self._size),
            "X-Goog-Upload-Header-Content-Type": self._mime_type,
        }


class Download:
    """One generated file on its way to a local path. ``proceed`` may be called again after each failure, and then continues.

    :param path: written from its beginning; what is there after an error is not whole.
    """

    def __init__(self, wire: Wire, name: str, path: Path) -> None:
        self._wire, self._name, self._path = wire, name, path
        self._etag: str | None = None
        self._total: int | None = None
        self._digest = hashlib.sha256()
        self.received = 0

    @property
    def sha256(self) -> str:
        """Hex digest of what has arrived."""
        return self._digest.hexdigest()

    def proceed(self) -> None:
        """Fetch what is not there yet.

        Raises OutcomeUnknownError or UnreachableError when ``proceed`` may be called again.
        """
        with translated(f"download {self._name}"):
            url = self._wire.url(f"/{self._wire.api_version}/{self._name}:download?alt=media")
            with self._wire.http.stream("GET", url, headers=self._headers(), timeout=self._wire.timeout) as answer:
                if answer.status_code == 416 and self.received and _range(answer)[1] == self.received:
                    return  # the connection broke after the last byte
                if answer.status_code not in (200, 206):
                    if answer.status_code == 416:
                        self._begin_again()
                    answer.read()
                    sdk_errors.APIError.raise_for_response(answer)
                self._write(answer)

    def _headers(self) -> dict[str, str]:
        headers = {**self._wire.key_header, "Accept-Encoding": "identity"}
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
            if self._etag is not None:
                headers["If-Range"] = self._etag
        return headers

    def _write(self, answer: Any) -> None:
        first, total = _range(answer) if answer.status_code == 206 else (0, _length(answer))
        if first != self.received or first == 0:
            self._begin_again()
            if first != 0:
                raise OutcomeUnknownError(
                    f"Could not download {self._name}: the service sent bytes from {first} on, which were not asked for."
                )
        else:
            log.info("Continuing the download of %s after %s bytes.", self._name, f"{self.received:,}")
        self._total = total
        self._etag = _strong(answer.headers.get("ETag"))
        progress = Progress(f"Downloading {self._name}", total)
        with open(self._path, "r+b" if first else "wb") as file:
            file.seek(first)
            for block in self._blocks(answer):
                require_wanted()
                file.write(block)
                self._digest.update(block)
                self.received += len(block)
                progress.at(self.received)
        if total is not None and self.received < total:
            raise OutcomeUnknownError(f"Could not download {self._name}: {self.received:,} of {total:,} bytes arrived.")

    def _blocks(self, answer: Any) -> Iterator[bytes]:
        if "Content-Encoding" not in answer.headers:
            yield from answer.iter_raw()
            return
        try:
            yield from answer.iter_bytes()
        except BaseException:
            self._begin_again()  # ranges are those of the encoded bytes
            raise

    def _begin_again(self) -> None:
        self.received, self._digest, self._etag = 0, hashlib.sha256(), None


def _pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    """The next bytes of a file. Not in one piece: httpx keeps what was sent until garbage is collected."""
    while length > 0 and (piece := file.read(min(_PIECE_BYTES, length))):
        require_wanted()
        length -= len(piece)
        yield piece


def _status(answer: Any) -> str:
    return str(answer.headers.get("X-Goog-Upload-Status", "")).strip().lower()


def _object(answer: Any) -> dict[str, Any]:
    try:
        return as_dict(read_any(answer.content))
    except (ValueError, RecursionError):
        return {}


def _chunk_bytes(granularity: str | None) -> int:
    """Bytes of a chunk: a multiple of what the service states, near to ``CHUNK_BYTES``."""
    unit = int(granularity) if granularity and granularity.isdecimal() else 0
    return CHUNK_BYTES if unit == 0 or unit > 8 * CHUNK_BYTES else max(1, CHUNK_BYTES // unit) * unit


def _range(answer: Any) -> tuple[int, int | None]:
    """First byte and size of the whole file, by ``Content-Range``; (-1, None) if it says neither."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if match is None:
        return -1, None
    first, _, total = match.groups()
    return (-1 if first is None else int(first)), (None if total == "*" else int(total))


def _length(answer: Any) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Content-Encoding" not in answer.headers else None


def _strong(etag: str | None) -> str | None:
    """Only a strong one says that the bytes are the same."""
    return etag if etag and not etag.startswith("W/") else None
