"""Files and caches that a request refers to. They must be ready when the request is answered."""

from __future__ import annotations

import io

import pytest
from google.genai import errors, types

from airflow_gemini_batch.emulator import FileFault
from tests.integration.emulator.conftest import MODEL

HOUR = 3600
#: 4,250 tokens of the emulator, enough for a cache of any model.
HANDBOOK = "A long handbook. " * 1000
CONTENTS = [{"parts": [{"text": HANDBOOK}], "role": "user"}]


def cache(client, model: str = MODEL, ttl: str = "3600s") -> str:
    config = types.CreateCachedContentConfig(contents=HANDBOOK, ttl=ttl)
    return client.caches.create(model=model, config=config).name


def upload(client, content: bytes = b"moving pictures", mime_type: str = "video/mp4", name: str = "film") -> types.File:
    config = types.UploadFileConfig(mime_type=mime_type, display_name=name)
    return client.files.upload(file=io.BytesIO(content), config=config)


def about(uri: str) -> dict:
    return {"contents": [{"parts": [{"text": "What is this?"}, {"fileData": {"fileUri": uri, "mimeType": "video/mp4"}}]}]}


def errors_of(rows: list[dict]) -> list[int | None]:
    return [row.get("error", {}).get("code") for row in rows]


def test_a_row_with_an_existing_cache_is_answered(emulator, client, steps):
    job = client.batches.create(model=MODEL, src=steps.upload([steps.line("a", cached_content=cache(client))]).name)
    emulator.advance(1000)

    assert steps.rows(job)[0]["response"]["usageMetadata"]["cachedContentTokenCount"] > 0


def test_a_row_without_its_cache_fails_alone(emulator, client, steps):
    lines = [steps.line("good"), steps.line("bad", cachedContent="cachedContents/none")]
    job = client.batches.create(model=MODEL, src=steps.upload(lines).name)
    emulator.advance(1000)

    good, bad = steps.rows(job)

    assert "response" in good
    assert bad["error"] == {"code": 7, "message": "CachedContent not found (or permission denied)"}


def test_rows_answered_after_their_cache_expired_fail(start, connect, tmp_path):
    emulator = start(pending_seconds=1 * HOUR, running_seconds=10 * HOUR)
    client = connect(emulator.url)
    name = cache(client, ttl=f"{int(5.5 * HOUR)}s")
    requests = [types.InlinedRequest(contents="Hi.", config={"cached_content": name}) for _ in range(10)]
    job = client.batches.create(model=MODEL, src=requests)

    emulator.advance(12 * HOUR)

    answers = client.batches.get(name=job.name).dest.inlined_responses
    assert [answer.error is None for answer in answers] == [True] * 5 + [False] * 5


def test_a_cache_serves_only_its_own_model(client):
    name = cache(client, model="gemini-2.5-pro")

    with pytest.raises(errors.ClientError, match=r"\(models/gemini-2.5-flash\) and CachedContent \(models/gemini-2.5-pro\)"):
        client.models.generate_content(model=MODEL, contents="Hi.", config={"cached_content": name})


def test_a_request_with_a_cache_cannot_have_its_own_instruction(client):
    config = {"cached_content": cache(client), "system_instruction": "Be brief."}

    with pytest.raises(errors.ClientError, match="CachedContent can not be used") as caught:
        client.models.generate_content(model=MODEL, contents="Hi.", config=config)

    assert caught.value.code == 400


def test_an_interactive_request_whose_cache_has_expired_is_forbidden(emulator, client):
    name = cache(client)
    emulator.advance(2 * HOUR)

    with pytest.raises(errors.ClientError, match="CachedContent not found") as caught:
        client.models.generate_content(model=MODEL, contents="Hi.", config={"cached_content": name})

    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("life", [{"ttl": "0s"}, {"expireTime": "2001-01-01T00:00:00Z"}, {"expireTime": "soon"}, {"ttl": "1h"}])
def test_a_cache_must_expire_in_the_future(http, life):
    answer = http.post("/v1beta/cachedContents", json={"model": f"models/{MODEL}", "contents": CONTENTS, **life})

    assert answer.status_code == 400


def test_the_expiry_of_a_cache_may_have_nanoseconds(http):
    made = http.post(
        "/v1/cachedContents",
        json={"model": f"models/{MODEL}", "contents": CONTENTS, "expireTime": "2199-01-01T00:00:00.123456789Z"},
    )

    assert made.json()["expireTime"].startswith("2199-01-01T00:00:00.")


@pytest.mark.parametrize("model", [MODEL, f"models/{MODEL}"])
def test_a_cache_may_name_its_model_either_way(http, model):
    assert http.post("/v1/cachedContents", json={"model": model, "contents": CONTENTS}).json()["model"] == f"models/{MODEL}"


def test_a_cache_may_have_a_very_long_life(http):
    assert http.post(
        "/v1/cachedContents", json={"model": f"models/{MODEL}", "contents": CONTENTS, "expireTime": "9999-01-01T00:00:00Z"}
    ).is_success


@pytest.mark.parametrize(
    ("model", "size", "refusal"),
    [
        ("gemini-2.5-flash", 1023, "total_token_count=1023, min_total_token_count=1024"),
        ("gemini-2.5-flash", 1024, None),
        ("gemini-3.5-flash-lite", 1023, "total_token_count=1023, min_total_token_count=1024"),
        ("gemini-2.5-pro", 4095, "total_token_count=4095, min_total_token_count=4096"),
        ("gemini-2.5-pro", 4096, None),
        ("gemini-2.5-pro", 0, "total_token_count=0, min_total_token_count=4096"),
    ],
)
def test_a_cache_that_is_too_small_is_refused(http, model: str, size: int, refusal: str | None):
    contents = [{"parts": [{"text": "a" * 4 * size}], "role": "user"}]

    answer = http.post("/v1beta/cachedContents", json={"model": f"models/{model}", "contents": contents})

    if refusal is None:
        assert answer.json()["usageMetadata"] == {"totalTokenCount": size}
    else:
        error = {"code": 400, "message": f"Cached content is too small. {refusal}", "status": "INVALID_ARGUMENT"}
        assert (answer.status_code, answer.json()["error"]) == (400, error)


PDF = b"%PDF-1.4\n/Type /Pages\n" + b"<< /Type /Page >>\n" * 4


@pytest.mark.parametrize(
    ("mime_type", "content", "tokens"),
    [("text/plain", b"a" * 8000, 2000), ("application/pdf", PDF, 4 * 258), ("image/png", b"a" * 8000, 258)],
)
def test_a_stored_file_counts_by_its_content(http, client, mime_type: str, content: bytes, tokens: int):
    file = upload(client, content, mime_type)
    contents = [{"parts": [{"fileData": {"fileUri": file.uri, "mimeType": mime_type}}], "role": "user"}]

    counted = http.post(f"/v1/models/{MODEL}:countTokens", json={"contents": contents}).json()
    cached = http.post("/v1/cachedContents", json={"model": f"models/{MODEL}", "contents": contents})

    assert counted["totalTokens"] == tokens
    assert cached.is_success is (tokens >= 1024)


def test_a_cache_cannot_hold_an_object_of_cloud_storage(http):
    uri = "gs://bucket/handbook.pdf"
    contents = [{"parts": [{"text": HANDBOOK}, {"file_data": {"file_uri": uri, "mime_type": "application/pdf"}}]}]

    answer = http.post("/v1beta/cachedContents", json={"model": f"models/{MODEL}", "contents": contents})

    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert answer.json()["error"]["message"] == f"Invalid or unsupported file uri: {uri}"


def test_a_cache_cannot_hold_a_file_that_does_not_exist(http):
    contents = [{"parts": [{"text": HANDBOOK}, {"fileData": {"fileUri": "files/none", "mimeType": "text/plain"}}]}]

    assert http.post("/v1beta/cachedContents", json={"model": f"models/{MODEL}", "contents": contents}).status_code == 403


def test_an_uploaded_video_is_processed_before_it_can_be_used(start, connect):
    emulator = start(processing_seconds=60)
    client = connect(emulator.url)
    file = upload(client)
    assert file.state.name == "PROCESSING"
    with pytest.raises(errors.ClientError, match="is not in an ACTIVE state and usage is not allowed") as caught:
        client.models.generate_content(model=MODEL, contents=about(file.uri)["contents"])
    assert (caught.value.code, caught.value.status) == (400, "FAILED_PRECONDITION")

    emulator.advance(61)

    assert client.files.get(name=file.name).state.name == "ACTIVE"
    assert client.models.generate_content(model=MODEL, contents=about(file.uri)["contents"]).text


@pytest.mark.parametrize("mime_type", ["jsonl", "image/png", "application/pdf", "audio/mp3"])
def test_other_uploads_can_be_used_at_once(client, mime_type):
    assert upload(client, mime_type=mime_type).state.name == "ACTIVE"


def test_processing_may_take_longer_and_fail(emulator, client, http):
    emulator.faults.add(FileFault(do="fail", display_name="^broken", mime_type="image", seconds=30, error_message="No picture."))
    broken, other = upload(client, mime_type="image/png", name="broken"), upload(client, mime_type="image/png", name="whole")
    assert (broken.state.name, other.state.name) == ("PROCESSING", "ACTIVE")

    emulator.advance(31)

    shown = http.get(f"/v1/{broken.name}").json()
    assert (shown["state"], shown["error"]) == ("FAILED", {"code": 3, "message": "No picture."})
    with pytest.raises(errors.ClientError, match="not in an ACTIVE state"):
        client.models.generate_content(model=MODEL, contents=about(broken.uri)["contents"])


def test_rows_whose_files_are_not_ready_fail_alone(emulator, client, steps):
    emulator.faults.add(FileFault(display_name="slow", seconds=60))
    slow, quick = upload(client, name="slow"), upload(client, mime_type="image/png", name="quick")
    lines = [{"key": str(place), "request": about(uri)} for place, uri in enumerate((slow.uri, quick.name, slow.name))]
    job = client.batches.create(model=MODEL, src=steps.upload(lines).name)
    emulator.advance(1000)

    # The first row is answered after 10 seconds, the last after 76.
    assert errors_of(steps.rows(job)) == [9, None, None]


def test_a_job_with_an_input_file_that_is_not_ready_is_refused(emulator, client, steps):
    emulator.faults.add(FileFault(seconds=60))
    file = steps.upload([steps.line("a")])

    with pytest.raises(errors.ClientError, match="not in an ACTIVE state") as caught:
        client.batches.create(model=MODEL, src=file.name)

    assert caught.value.code == 400


@pytest.mark.parametrize("uri", ["https://example.com/profiles/a.png", "gs://bucket/files/a.png", "https://youtu.be/files/x"])
def test_uris_of_other_hosts_are_not_checked(client, uri):
    assert client.models.generate_content(model=MODEL, contents=about(uri)["contents"]).text
