"""Invalid calls are refused in the service's format. None of them crashes or blocks the emulator."""

from __future__ import annotations

import base64
import json
import sqlite3

import httpx
import pytest

from tests.integration.emulator.conftest import MODEL
from tests.integration.emulator.test_uploads import begin

CREATE = f"/v1beta/models/{MODEL}:batchGenerateContent"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
EMBED = "/v1beta/models/gemini-embedding-001:embedContent"
UPLOAD = "/upload/v1beta/files"
START = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
HELLO = [{"parts": [{"text": "Hello there."}]}]


def refused(answer: httpx.Response, status: int = 400) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert answer.json()["error"]["code"] == status


def inline(request: object) -> dict:
    return {"batch": {"inputConfig": {"requests": {"requests": [{"request": request}]}}}}


def token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"{bad",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"foo": 1}',
        b'{"batch": 5}',
        b'{"batch": {"displayName": "\\ud800"}}',
        json.dumps({"batch": {**inline({"contents": HELLO})["batch"], "colour": "red"}}).encode(),
        json.dumps({"batch": {"inputConfig": {"requests": [{"request": {"contents": HELLO}}]}}}).encode(),
    ],
)
def test_a_body_that_is_not_a_create_request_is_refused(http, body):
    refused(http.post(CREATE, content=body))


@pytest.mark.parametrize(
    "request_body",
    [
        5,
        {"contents": "a bare text"},
        {"contents": ["a bare text"]},
        {"contents": [{"parts": ["a bare text"]}]},
        {"contents": [{"parts": [{"text": 5}]}]},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "not base64!"}}]}]},
        {"contents": HELLO, "systemInstruction": "a bare text"},
        {"contents": HELLO, "tools": [5]},
        {"contents": HELLO, "colour": "red"},
    ],
)
def test_a_malformed_request_is_refused_inline_and_in_a_file(http, client, steps, request_body):
    refused(http.post(CREATE, json=inline(request_body)))

    file = steps.upload([steps.line("good"), {"key": "bad", "request": request_body}])
    from_file = http.post(CREATE, json={"batch": {"inputConfig": {"fileName": file.name}}})
    refused(from_file)
    assert from_file.json()["error"]["message"].startswith("Error on line 2: ")


def test_a_line_that_is_nested_too_deeply_is_a_bad_line(http, steps):
    file = steps.upload(["[" * 100_000])

    refused(http.post(CREATE, json={"batch": {"inputConfig": {"fileName": file.name}}}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Goog-Upload-Header-Content-Length", "many"),
        ("X-Goog-Upload-Header-Content-Length", "-1"),
        ("X-Goog-Upload-Header-Content-Length", "9" * 30),
    ],
)
def test_an_upload_must_announce_a_number(http, name, value):
    refused(http.post(UPLOAD, headers={**START, name: value}, json={}))


@pytest.mark.parametrize("offset", ["many", "-5"])
def test_an_offset_must_be_a_number(http, offset):
    headers = {"X-Goog-Upload-Command": "upload", "X-Goog-Upload-Offset": offset}

    refused(httpx.post(begin(http, 10), headers=headers, content=b"x", trust_env=False))


def test_a_multipart_upload_needs_readable_metadata(http):
    body = b"--x\r\n\r\n{bad\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n"

    refused(http.post(f"{UPLOAD}?uploadType=multipart", headers={"content-type": "multipart/related; boundary=x"}, content=body))


@pytest.mark.parametrize("collection", ["batches", "files", "webhooks", "cachedContents"])
@pytest.mark.parametrize("value", [5, [1], [1, {"a": 1}], [1, "x"], [1, 2, 3, 4], [2**80, 1], None])
def test_an_invented_page_token_is_refused(http, collection, value):
    refused(http.get(f"/v1/{collection}?pageToken={token(value)}"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/batches", 404),
        ("GET", "/v1/batches/", 404),
        ("GET", "/v1/batches/%00", 404),
        ("GET", "/v1/batches/..%2f..%2fetc", 404),
        ("GET", "/v1/files/..%5c..", 403),
        ("PUT", "/v1/batches", 404),
        ("OPTIONS", "/v1/batches", 404),
        ("POST", "/v1/batches/x:nonsense", 404),
        ("GET", "/v1/batches?pageSize=x", 400),
        ("GET", "/v1beta/openai/batches?limit=x", 400),
        ("GET", "/v1beta/openai/batches?limit=0", 400),
        ("GET", f"/v1/models/{MODEL}:generateContent", 404),
    ],
)
def test_unknown_paths_and_methods(http, method, path, status):
    refused(http.request(method, path), status)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/gemini-embedding-2:batchGenerateContent", 404),
        (f"/v1/models/{MODEL}:asyncBatchEmbedContent", 404),
        (f"/v1/models/{MODEL}:embedContent", 404),
        ("/v1/models/no-model-of-theirs:generateContent", 404),
        ("/v1/models/gemini-flash-latest:generateContent", 404),
        ("/v1beta/models/gemini-flash-latest:generateContent", 200),
        ("/v1/tunedModels/mine:generateContent", 200),
    ],
)
def test_a_model_answers_only_its_own_methods(http, path, status):
    answer = http.post(path, json={"contents": HELLO})

    assert answer.status_code == status
    if status == 404:
        assert "is not found for API version v1, or is not supported for" in answer.json()["error"]["message"]


@pytest.mark.parametrize("uri", ["", "ftp://x", "http://", "http://[", "x"])
def test_a_webhook_needs_a_valid_uri(http, uri):
    refused(http.post("/v1/webhooks", json={"uri": uri, "subscribed_events": ["batch.succeeded"]}))


@pytest.mark.parametrize(
    "config",
    [
        {"candidateCount": 10**9},
        {"responseJsonSchema": {"type": "array", "minItems": 10**9, "items": {"type": "string"}}},
        {"responseJsonSchema": {"type": "string", "minLength": 10**9}},
        {"responseJsonSchema": {"type": "integer", "minimum": "a"}},
        {"responseJsonSchema": {"type": "string", "pattern": "("}},
    ],
)
def test_a_request_that_asks_for_too_much_fails_alone(emulator, client, steps, http, config):
    refused(http.post(GENERATE, json={"contents": HELLO, "generationConfig": config}))

    job = client.batches.create(
        model=MODEL, src=steps.upload([steps.line("bad", generationConfig=config), steps.line("good")]).name
    )
    emulator.advance(1000)
    bad, good = steps.rows(job)
    assert bad["error"]["code"] == 3
    assert "response" in good


@pytest.mark.parametrize("dimension", [-1, 3073, 10**12])
def test_an_embedding_cannot_be_longer_than_the_models_allow(http, dimension):
    refused(http.post(EMBED, json={"content": HELLO[0], "outputDimensionality": dimension}))


def test_a_create_without_content_length_is_limited_too(start):
    emulator = start(max_inline_bytes=1000)

    def blocks():
        for _ in range(100):
            yield b" " * 100

    answer = httpx.post(f"{emulator.url}{CREATE}", headers={"x-goog-api-key": "k"}, content=blocks(), trust_env=False)

    refused(answer)
    assert "exceeds the limit: 1000 bytes" in answer.text


@pytest.mark.parametrize("body", [b"{bad", b"[]", b"{}", b'{"advance_seconds": "x"}', b'{"advance_seconds": -1}'])
def test_the_clock_is_moved_by_a_number(emulator, http, body):
    refused(http.post("/emulator/clock", content=body))


@pytest.mark.parametrize("seconds", ["1e10", "1e300", "1" + 400 * "0"], ids=["centuries", "eternity", "no float"])
def test_the_clock_stays_within_its_range(emulator, http, seconds):
    refused(http.post("/emulator/clock", content=f'{{"advance_seconds": {seconds}}}'))

    assert http.get("/v1/batches").json() == {}


def test_a_timeout_must_be_a_number(http):
    refused(http.post("/emulator/idle?timeout=long"))


def test_a_job_that_cannot_be_answered_fails_and_the_next_one_does_not(start, connect, tmp_path):
    first = start()
    broken = connect(first.url).batches.create(model=MODEL, src=[{"contents": HELLO}])
    first.wait_idle()
    first.stop()
    next((tmp_path / "state" / "contents").glob("*.in")).unlink()
    with sqlite3.connect(tmp_path / "state" / "emulator.sqlite3") as database:
        database.execute("UPDATE jobs SET output_ns = NULL")
    database.close()

    second = start()
    client = connect(second.url)
    whole = client.batches.create(model=MODEL, src=[{"contents": HELLO}])
    second.advance(1000)

    assert client.batches.get(name=broken.name).state.name == "JOB_STATE_FAILED"
    assert client.batches.get(name=whole.name).state.name == "JOB_STATE_SUCCEEDED"
