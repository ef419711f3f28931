"""The resumable upload, uploads in one call, and files created from metadata only.

Received bytes are written directly to the content file, and `query` returns its length, so an upload survives a kill of the
emulator. Only `finalize` creates the file, in one transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import mimetypes
import re
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.emulator.clock import HOUR, nanoseconds
from airflow_gemini_batch.emulator.faults.kinds import FileFault
from airflow_gemini_batch.emulator.files.file_store import MAX_DISPLAY_NAME, File, FileStore, valid_file_id
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import from_json, header_number, json_response, parse_object, read_object
from airflow_gemini_batch.emulator.http.callers import API_VERSIONS, base_url_of, project_of, version_of
from airflow_gemini_batch.emulator.proto_json import Json, get_int, get_list, get_object, get_text
from airflow_gemini_batch.emulator.service import Service, new_id

_CHUNK_GRANULARITY = str(256 * 1024)

_OBJECT_URI = re.compile(r"gs://[^/]+/.+")

#: `jsonl` is not a valid MIME type, but the official samples use it.
_MIME_TYPE = re.compile(
    r"jsonl|(application|audio|font|image|message|model|multipart|text|video)/[\w.+-]+( *;.*)?", re.IGNORECASE
)

#: In real answers files expire this much before the 48 hours are over.
_EXPIRY_SHORTFALL_NS = 275_000_000


class UploadsApi:
    """`POST /upload/VERSION/files` in all its forms, `POST /VERSION/files` and `files:register`."""

    def __init__(self, service: Service, files: FileStore) -> None:
        self._service = service
        self._files = files
        self._store = service.store

    def routes(self) -> list[Route]:
        return [
            route
            for version in API_VERSIONS
            for route in (
                Route(f"/upload/{version}/files", self._upload, methods=["POST", "PUT"]),
                Route(f"/{version}/files", self._create_without_bytes, methods=["POST"]),
                Route(f"/{version}/files:register", self._register, methods=["POST"]),
            )
        ]

    async def _upload(self, request: Request) -> Response:
        if upload_id := request.query_params.get("upload_id"):
            return await self._continue(request, upload_id)
        project = project_of(request, self._service)
        protocol = request.headers.get("x-goog-upload-protocol") or request.query_params.get("uploadType", "")
        if protocol == "resumable" and "upload" not in _commands(request):
            return await self._start(request, project)
        if protocol == "multipart":
            return await self._multipart(request, project)
        return await self._raw(request, project)

    async def _start(self, request: Request, project: str) -> Response:
        headers = request.headers
        meta = get_object(await read_object(request), "file")
        announced = header_number(request, "x-goog-upload-header-content-length")
        size = get_int(meta, "sizeBytes") if announced is None else announced
        mime_type = headers.get("x-goog-upload-header-content-type") or get_text(meta, "mimeType")
        upload_id = self._open(project, meta, size, mime_type)
        query = f"upload_id={upload_id}&upload_protocol=resumable"
        url = f"{base_url_of(request)}/upload/{version_of(request)}/files?{query}"
        return json_response(
            {},
            headers={
                "X-Goog-Upload-URL": url,
                "X-Goog-Upload-Control-URL": url,
                "X-Goog-Upload-Status": "active",
                "X-Goog-Upload-Chunk-Granularity": _CHUNK_GRANULARITY,
                "X-GUploader-UploadID": upload_id,
            },
        )

    def _open(self, project: str, meta: Json, size: int | None, mime_type: str) -> str:
        """Checks the metadata and starts an upload. Returns its id."""
        file_id = get_text(meta, "name").removeprefix("files/")
        if file_id and not valid_file_id(file_id):
            raise refusals.invalid_argument(
                "* CreateFileRequest.file.name: File ID (name excluding 'files/') can contain up to 40 characters "
                "that are lowercase alphanumeric or dashes (-), and cannot start or end with a dash.\n"
            )
        if mime_type and not _MIME_TYPE.fullmatch(mime_type):
            raise refusals.invalid_argument(f"Unsupported MIME type: {mime_type}")
        if len(get_text(meta, "displayName")) > MAX_DISPLAY_NAME:
            raise refusals.invalid_argument("* CreateFileRequest.file.display_name: at most 512 characters.\n")
        if size is not None and size > self._service.options.max_file_bytes:
            raise refusals.invalid_argument(f"File is too large: {size} bytes of at most {self._service.options.max_file_bytes}.")
        if self._files.stored_bytes(project) + (size or 0) > self._service.options.max_storage_bytes:
            raise refusals.storage_full(self._service.options.max_storage_bytes)
        if self._service.options.taken_name == "start" and file_id and self._files.find(project, file_id):
            raise refusals.file_taken(file_id)
        upload_id = new_id(40)
        self._store.content(upload_id).touch()
        self._store.insert(
            "uploads",
            id=upload_id,
            project=project,
            file=json.dumps({"name": file_id, "displayName": get_text(meta, "displayName")}),
            size=size,
            mime_type=mime_type or "application/octet-stream",
            state="active",
        )
        return upload_id

    async def _continue(self, request: Request, upload_id: str) -> Response:
        """A command on an upload URL. The id in the URL is the only credential."""
        upload = self._store.row("SELECT * FROM uploads WHERE id = ?", upload_id)
        if upload is None or upload["state"] == "cancelled":
            raise refusals.not_found()
        commands = _commands(request)
        if upload["state"] == "final":
            # The answer to finalize may have been lost. A repeated call gets the same answer.
            return json_response(from_json(upload["answer"]), headers=_progress("final", upload["size"]))
        path = self._store.content(upload_id)
        if "query" in commands:
            return json_response({}, headers=_progress("active", path.stat().st_size))
        if "cancel" in commands:
            self._store.run("UPDATE uploads SET state = 'cancelled' WHERE id = ?", upload_id)
            path.unlink(missing_ok=True)
            return json_response({}, headers={"X-Goog-Upload-Status": "cancelled"})
        if "upload" in commands:
            await self._receive(request, path, upload["size"])
        if "finalize" in commands:
            return await self._finish(request, upload_id)
        return json_response({}, headers=_progress("active", path.stat().st_size))

    async def _receive(self, request: Request, path: Path, announced: int | None) -> None:
        """Writes the chunk to the content file at the offset that the call names, so a repeated chunk is written once."""
        offset = header_number(request, "x-goog-upload-offset") or 0
        received = path.stat().st_size
        if offset > received:
            raise refusals.invalid_argument(f"Upload offset is {offset}, but only {received} bytes have been received.")
        most = self._service.options.max_file_bytes if announced is None else announced
        with path.open("r+b") as content:
            content.truncate(offset)
            content.seek(offset)
            try:
                async for block in request.stream():
                    offset += len(block)
                    if offset > most:
                        raise refusals.invalid_argument(f"More than the announced {most} bytes were sent.")
                    # A blocking write to the page cache is faster than passing each 64 KiB to another thread.
                    content.write(block)
            except ClientDisconnect:
                content.flush()
                raise

    async def _finish(self, request: Request, upload_id: str) -> Response:
        upload = self._store.row("SELECT * FROM uploads WHERE id = ?", upload_id)
        assert upload is not None
        path = self._store.content(upload_id)
        size = path.stat().st_size
        if upload["size"] is not None and upload["size"] != size:
            raise refusals.invalid_argument(f"Upload finalized with {size} bytes, but {upload['size']} were announced.")
        sha256 = await asyncio.to_thread(sha256_of, path)
        meta = json.loads(upload["file"])
        now = self._service.clock.now()
        display_name, mime_type = meta["displayName"], upload["mime_type"]
        fault = self._service.rules.for_file(display_name, mime_type)
        seconds = self._service.options.processing_seconds if mime_type.startswith("video/") else 0.0
        file = File(
            project=upload["project"],
            id=meta["name"] or new_id(12),
            display_name=display_name,
            mime_type=mime_type,
            size=size,
            sha256=sha256,
            created_ns=now,
            expires_ns=now + int(self._service.options.file_hours * HOUR) - _EXPIRY_SHORTFALL_NS,
            source="UPLOADED",
            content=upload_id,
            processed_ns=now + nanoseconds(seconds if fault is None else fault.seconds),
            error=_processing_error(fault),
        )
        body = {"file": file.resource(base_url_of(request), version_of(request), now)}
        with self._store.transaction():
            if self._files.find(file.project, file.id):
                self._store.run("UPDATE uploads SET state = 'cancelled' WHERE id = ?", upload_id)
                path.unlink(missing_ok=True)
                taken = refusals.file_taken(file.id)
                return json_response(taken.body, taken.http_status, _progress("final", size))
            self._files.add(file)
            self._store.run(
                "UPDATE uploads SET state = 'final', size = ?, answer = ? WHERE id = ?",
                *(size, json.dumps(body), upload_id),
            )
            request.state.entry = self._service.journal.write(
                "upload", file.project, file=file.name, display_name=file.display_name, bytes=size, sha256=sha256
            )
        return json_response(body, headers=_progress("final", size))

    async def _raw(self, request: Request, project: str) -> Response:
        """An upload in one call: `upload, finalize` without a start, or the bytes alone."""
        mime_type = request.headers.get("x-goog-upload-header-content-type") or request.headers.get("content-type", "")
        upload_id = self._open(project, {}, None, mime_type)
        await self._receive(request, self._store.content(upload_id), None)
        return await self._finish(request, upload_id)

    async def _multipart(self, request: Request, project: str) -> Response:
        meta, mime_type, content = _two_parts(request.headers.get("content-type", ""), await request.body())
        upload_id = self._open(project, get_object(meta, "file"), len(content), mime_type)
        await asyncio.to_thread(self._store.content(upload_id).write_bytes, content)
        return await self._finish(request, upload_id)

    async def _create_without_bytes(self, request: Request) -> Response:
        project = project_of(request, self._service)
        meta = get_object(await read_object(request), "file")
        return await self._finish(request, self._open(project, meta, 0, get_text(meta, "mimeType")))

    async def _register(self, request: Request) -> Response:
        """Registers Cloud Storage objects as files. Their content is not read, and no bucket is contacted."""
        project = project_of(request, self._service)
        if not request.headers.get("authorization", "").lower().startswith("bearer "):
            raise refusals.token_missing()
        uris = [str(uri) for uri in get_list(await read_object(request), "uris")]
        for uri in uris:
            if not _OBJECT_URI.fullmatch(uri):
                raise refusals.invalid_argument(f"Invalid Cloud Storage URI: {uri!r}.")
        now = self._service.clock.now()
        files = [self._registered(project, uri, now) for uri in uris]
        base_url, version = base_url_of(request), version_of(request)
        return json_response({"files": [file.resource(base_url, version, now) for file in files]})

    def _registered(self, project: str, uri: str, now: int) -> File:
        content = new_id(40)
        self._store.content(content).touch()
        file = File(
            project=project,
            id=new_id(12),
            display_name="",
            mime_type=mimetypes.guess_type(uri)[0] or "application/octet-stream",
            size=0,
            sha256=sha256_of(self._store.content(content)),
            created_ns=now,
            expires_ns=now + int(self._service.options.file_hours * HOUR) - _EXPIRY_SHORTFALL_NS,
            source="REGISTERED",
            content=content,
        )
        self._files.add(file)
        return file


def _processing_error(fault: FileFault | None) -> str | None:
    if fault is None or fault.do != "fail":
        return None
    return json.dumps({"code": fault.error_code, "message": fault.error_message})


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _commands(request: Request) -> set[str]:
    return {word.strip() for word in request.headers.get("x-goog-upload-command", "").lower().split(",")}


def _progress(status: str, received: int) -> dict[str, str]:
    return {"X-Goog-Upload-Status": status, "X-Goog-Upload-Size-Received": str(received)}


def _two_parts(content_type: str, body: bytes) -> tuple[Json, str, bytes]:
    """Splits multipart/related: the metadata, the content's MIME type, the content."""
    boundary = content_type.partition("boundary=")[2].split(";")[0].strip().strip('"')
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if not boundary or len(parts) != 4:
        raise refusals.invalid_argument("A multipart upload has two parts: the file's metadata and its content.")
    _, _, meta_text = parts[1].partition(b"\r\n\r\n")
    head, _, content = parts[2].partition(b"\r\n\r\n")
    types = [
        line.partition(":")[2].strip() for line in head.decode("latin-1").splitlines() if line.lower().startswith("content-type:")
    ]
    return parse_object(meta_text), (types or [""])[0], content
