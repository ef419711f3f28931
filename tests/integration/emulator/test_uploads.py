"""The resumable upload and the other kinds of upload, as a client sees them."""

from __future__ import annotations

import base64
import hashlib
import io
import os

import httpx
import pytest
from google.genai import errors, types

from airflow_gemini_batch.emulator import HttpFault

JSONL = types.UploadFileConfig(mime_type="jsonl")


def begin(http: httpx.Client, size: int, **file: str) -> str:
    headers = {
        "X-Goog-Upload-Protocol": "resumable",
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": str(size),
    }
    return http.post("/upload/v1beta/files", headers=headers, json={"file": file}).headers["x-goog-upload-url"]


def send_command(http: httpx.Client, url: str, command: str, offset: int = 0, content: bytes = b"") -> httpx.Response:
    headers = {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": str(offset)}
    return httpx.post(url, headers=headers, content=content, trust_env=False)


@pytest.mark.parametrize("size", [0, 1, 8 << 20, (8 << 20) + 1, 20 << 20])
def test_a_file_of_any_number_of_chunks_arrives_whole(client, size):
    content = os.urandom(size)

    file = client.files.upload(file=io.BytesIO(content), config=JSONL)

    assert file.size_bytes == size
    assert base64.b64decode(file.sha256_hash) == hashlib.sha256(content).hexdigest().encode()
    assert file.state.name == "ACTIVE"


def test_an_interrupted_upload_continues_at_the_offset_that_query_returns(http):
    url = begin(http, 10)
    send_command(http, url, "upload", 0, b"01234")

    asked = send_command(http, url, "query")
    last = send_command(http, url, "upload, finalize", 5, b"56789")

    assert asked.headers["x-goog-upload-size-received"] == "5"
    assert asked.headers["x-goog-upload-status"] == "active"
    assert last.headers["x-goog-upload-status"] == "final"
    assert last.json()["file"]["sizeBytes"] == "10"


def test_a_chunk_sent_twice_is_written_once(http):
    url = begin(http, 6)
    send_command(http, url, "upload", 0, b"abc")
    send_command(http, url, "upload", 0, b"abc")

    file = send_command(http, url, "upload, finalize", 3, b"def").json()["file"]

    assert base64.b64decode(file["sha256Hash"]).decode() == hashlib.sha256(b"abcdef").hexdigest()


def test_a_repeated_finalize_gets_the_same_file(http):
    url = begin(http, 3)

    first = send_command(http, url, "upload, finalize", 0, b"abc").json()
    again = send_command(http, url, "upload, finalize", 0, b"abc").json()

    assert first == again


@pytest.mark.parametrize("command", ["upload, finalize", "start, upload, finalize"])
def test_an_upload_may_be_one_call(http, command):
    headers = {
        "X-Goog-Upload-Protocol": "resumable",
        "X-Goog-Upload-Command": command,
        "X-Goog-Upload-Header-Content-Type": "jsonl",
    }

    answer = http.post("/upload/v1beta/files", headers=headers, content=b'{"a": 1}\n{"b": 2}\n')

    assert answer.headers["x-goog-upload-status"] == "final"
    file = answer.json()["file"]
    assert (file["mimeType"], file["sizeBytes"]) == ("jsonl", "18")


@pytest.mark.parametrize("mime_type", ["nonsense", "png", "nonsense/png", "image/"])
def test_an_invalid_mime_type_is_refused(client, mime_type):
    with pytest.raises(errors.ClientError, match="Unsupported MIME") as caught:
        client.files.upload(file=io.BytesIO(b"x"), config=types.UploadFileConfig(mime_type=mime_type))

    assert caught.value.code == 400


@pytest.mark.parametrize("mime_type", ["jsonl", "application/jsonl", "text/plain; charset=utf-8", "image/svg+xml"])
def test_mime_types_that_the_service_accepts(client, mime_type):
    file = client.files.upload(file=io.BytesIO(b"x"), config=types.UploadFileConfig(mime_type=mime_type))

    assert file.mime_type == mime_type


def test_the_upload_url_has_the_host_that_the_caller_used(http):
    headers = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start", "X-Forwarded-Proto": "https"}

    started = http.post("/upload/v1/files", headers={**headers, "X-Forwarded-Host": "gemini.example.com"}, json={})

    assert started.headers["x-goog-upload-url"].startswith("https://gemini.example.com/upload/v1/files?upload_id=")


def test_a_gap_in_the_offsets_is_refused(http):
    url = begin(http, 10)

    answer = send_command(http, url, "upload", 5, b"56789")

    assert answer.status_code == 400


def test_a_cancelled_upload_is_gone(http):
    url = begin(http, 10)
    send_command(http, url, "cancel")

    assert send_command(http, url, "upload", 0, b"x").status_code == 404


def test_fewer_bytes_than_announced_are_refused(http):
    url = begin(http, 10, name="files/short")

    assert send_command(http, url, "upload, finalize", 0, b"abc").status_code == 400
    assert http.get("/v1/files/short").status_code == 403


def test_a_taken_name_is_refused_after_the_bytes(client, http):
    client.files.upload(file=io.BytesIO(b"one"), config=types.UploadFileConfig(mime_type="jsonl", name="mine"))
    url = begin(http, 3, name="files/mine")

    refused = send_command(http, url, "upload, finalize", 0, b"two")

    assert refused.status_code == 409
    assert refused.json() == {"error": {"message": "mine already exists.", "code": 409}}
    with pytest.raises(errors.ClientError) as caught:
        client.files.upload(file=io.BytesIO(b"one"), config=types.UploadFileConfig(mime_type="jsonl", name="mine"))
    assert caught.value.code == 409


def test_a_taken_name_can_be_refused_at_the_start(start, connect):
    client = connect(start(taken_name="start").url)
    config = types.UploadFileConfig(mime_type="jsonl", name="mine")
    client.files.upload(file=io.BytesIO(b"one"), config=config)

    with pytest.raises(errors.ClientError, match="409"):
        client.files.upload(file=io.BytesIO(b"one"), config=config)


@pytest.mark.parametrize("name", ["files/Upper", "files/-dash", "files/dash-", "files/" + "a" * 41])
def test_an_invalid_name_is_refused_before_the_bytes(http, name):
    headers = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}

    answer = http.post("/upload/v1/files", headers=headers, json={"file": {"name": name}})

    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_full_storage_is_refused_at_the_start(start, connect):
    client = connect(start(max_storage_bytes=10).url)
    client.files.upload(file=io.BytesIO(b"12345678"), config=JSONL)

    with pytest.raises(errors.ClientError, match="file_storage_bytes") as caught:
        client.files.upload(file=io.BytesIO(b"12345678"), config=JSONL)
    assert caught.value.code == 429
    assert caught.value.details["error"]["details"][0]["violations"][0]["quotaId"] == "FileStorageBytesPerProject"


def test_one_call_uploads_work_too(http):
    plain = http.post("/upload/v1beta/files", content=b"abc", headers={"Content-Type": "text/plain"}).json()["file"]
    body = (
        b'--x\r\nContent-Type: application/json\r\n\r\n{"file": {"displayName": "two parts"}}\r\n'
        b"--x\r\nContent-Type: application/jsonl\r\n\r\n\x00\r\n\xff\n\r\n--x--\r\n"
    )
    parts = http.post(
        "/upload/v1beta/files?uploadType=multipart", content=body, headers={"Content-Type": "multipart/related; boundary=x"}
    ).json()["file"]
    empty = http.post("/v1beta/files", json={"file": {"display_name": "no bytes"}}).json()["file"]

    assert (plain["sizeBytes"], plain["mimeType"]) == ("3", "text/plain")
    assert (parts["sizeBytes"], parts["displayName"], parts["mimeType"]) == ("5", "two parts", "application/jsonl")
    assert (empty["sizeBytes"], empty["displayName"]) == ("0", "no bytes")


def test_a_chunk_cut_by_the_network_keeps_what_arrived(emulator, http):
    url = begin(http, 1_000_000)
    emulator.faults.add(HttpFault(do="cut_upload", path="upload_id=", bytes=500_000, nth=1))

    with pytest.raises(httpx.TransportError):
        send_command(http, url, "upload", 0, b"x" * 1_000_000)

    received = int(send_command(http, url, "query").headers["x-goog-upload-size-received"])
    assert received == 500_000
    assert send_command(http, url, "upload, finalize", received, b"x" * 500_000).json()["file"]["sizeBytes"] == "1000000"
