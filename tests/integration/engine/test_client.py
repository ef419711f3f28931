"""The client over the real SDK: what each failure means, and what the SDK hides."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    DroppedError,
    InputError,
    NamelessJobError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ServiceError,
    UnreachableError,
)
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import JobState
from tests.integration.engine.scripted_server import Answer, serving

pytestmark = pytest.mark.integration

CANARY = "AIzaCanaryKeyThatMustNotLeak0123456789"
NAME = "batches/7h9w4gzuqot3bb3fpd1e2nqcp980iwnmjs7n"
FAILED = {
    "name": NAME,
    "done": True,
    "metadata": {"state": "BATCH_STATE_FAILED", "batchStats": {"requestCount": "4"}, "name": NAME},
    "error": {"code": 13, "message": "why it failed"},
}
BAD_KEY = {
    "error": {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        ],
    }
}


def error(code: int, status: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": f"about {status}", "status": status, **more}}


def client(url: str) -> GeminiClient:
    return GeminiClient(Endpoint(api_key=CANARY, base_url=url, request_timeout=5.0))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(400, BAD_KEY), ApiKeyError),
        (Answer(400, [BAD_KEY]), ApiKeyError),
        (Answer(401, error(401, "UNAUTHENTICATED")), ApiKeyError),
        (Answer(400, error(400, "INVALID_ARGUMENT")), RefusedError),
        (Answer(403, error(403, "PERMISSION_DENIED")), RefusedError),
        (Answer(404, error(404, "NOT_FOUND")), NotFoundError),
        (Answer(429, error(429, "RESOURCE_EXHAUSTED")), QuotaError),
        (Answer(499, error(499, "CANCELLED")), OutcomeUnknownError),
        (Answer(500, error(500, "INTERNAL")), OutcomeUnknownError),
        (Answer(503, b"<html>Service Unavailable</html>", {"Content-Type": "text/html"}), OutcomeUnknownError),
        (Answer(200, b"not json"), OutcomeUnknownError),
        (Answer(200, {}), NamelessJobError),
        (Answer(200, {"name": "operations/x"}), NamelessJobError),
        (Answer(body=None), DroppedError),
    ],
)
def test_a_create_is_sent_once_and_its_failure_says_what_may_have_happened(answer: Answer, kind: type[ServiceError]) -> None:
    with serving(lambda method, path: answer) as script, client(script.url) as gemini:
        with pytest.raises(ServiceError) as caught:
            gemini.create_job(model="gemini-3.6-flash", input_file="files/x", display_name="n")

        assert type(caught.value) is kind
        assert script.count("POST") == 1
        assert CANARY not in repr(caught.value)


def test_no_connection_means_that_nothing_was_done() -> None:
    with client("http://127.0.0.1:9") as gemini, pytest.raises(UnreachableError, match="check the base URL"):
        gemini.create_job(model="m", input_file="files/x", display_name="n")


@pytest.mark.parametrize(
    ("details", "headers", "seconds"),
    [
        ([], {}, None),
        ([{"@type": "t/google.rpc.RetryInfo", "retryDelay": "28s"}], {}, 28.0),
        ([{"@type": "t/google.rpc.RetryInfo", "retryDelay": "9223372036854775807s"}], {}, None),
        ([], {"Retry-After": "7"}, 7.0),
    ],
)
def test_a_quota_refusal_says_how_long_where_the_service_does(
    details: list[dict[str, str]], headers: dict[str, str], seconds: float | None
) -> None:
    answer = Answer(429, error(429, "RESOURCE_EXHAUSTED", details=details), headers)
    with serving(lambda method, path: answer) as script, client(script.url) as gemini:
        with pytest.raises(QuotaError) as caught:
            gemini.create_job(model="m", input_file="files/x", display_name="n")

        assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("You exceeded your current quota.", "Probably one of: active batch jobs .* tokens enqueued for the model .* spend"),
        (
            "Quota exceeded for metric: generativelanguage.googleapis.com/file_storage_bytes",
            "file storage .* is full: delete files",
        ),
    ],
)
def test_a_quota_refusal_names_the_quota_that_was_probably_hit(message: str, told: str) -> None:
    answer = Answer(429, {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}})
    with (
        serving(lambda method, path: answer) as script,
        client(script.url) as gemini,
        pytest.raises(QuotaError, match=told),
    ):
        gemini.create_job(model="m", input_file="files/x", display_name="n")


def test_a_job_has_its_error_and_its_counts_which_the_sdk_drops() -> None:
    with serving(lambda method, path: Answer(body=FAILED)) as script, client(script.url) as gemini:
        job = gemini.get_job(NAME)

    assert (job.state, job.error_message, job.stats.total) == (JobState.FAILED, "why it failed", 4)


def test_an_answer_that_the_sdk_cannot_parse_is_read_all_the_same() -> None:
    item = {"error": {"code": 3, "message": "m", "details": [{"@type": "x", "reason": "y"}]}, "metadata": {"key": "r"}}
    inline = {
        "name": NAME,
        "done": True,
        "metadata": {
            "state": "BATCH_STATE_SUCCEEDED",
            "output": {"inlinedResponses": {"inlinedResponses": [item]}},
            "name": NAME,
        },
    }
    with serving(lambda method, path: Answer(body=inline)) as script, client(script.url) as gemini:
        job = gemini.get_job(NAME)

    assert job.has_inline_output


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + json.dumps(FAILED).encode(),
        json.dumps(FAILED)[:-1].encode() + b', "x": ' + b"9" * 5000 + b"}",
        json.dumps(FAILED)[:-1].encode() + b', "x": "\x01"}',
        json.dumps(FAILED)[:-1].encode() + b', "x": "\xe9"}',
    ],
    ids=["byte order mark", "enormous integer", "control character", "not UTF-8"],
)
def test_json_that_the_sdk_cannot_read_is_read_all_the_same(body: bytes) -> None:
    with serving(lambda method, path: Answer(body=body)) as script, client(script.url) as gemini:
        assert gemini.get_job(NAME).error_message == "why it failed"


def test_what_is_no_job_does_not_spoil_the_listing() -> None:
    operations = [None, 3, "x", [], {"name": "operations/1"}, {"name": NAME, "metadata": 7}, FAILED]
    with serving(lambda method, path: Answer(body={"operations": operations})) as script, client(script.url) as gemini:
        assert [job.error_message for job in gemini.list_jobs()] == ["", "why it failed"]


def test_an_answer_that_is_not_as_documented_is_told_in_one_line() -> None:
    body = {"name": "files/abc", "createTime": "yesterday"}
    with (
        serving(lambda method, path: Answer(body=body)) as script,
        client(script.url) as gemini,
        pytest.raises(OutcomeUnknownError, match=r"^Could not fetch files/abc: .* \(createTime: .*\)\.$"),
    ):
        gemini.get_file("files/abc")


def test_a_page_of_html_is_not_told_whole() -> None:
    page = b"<html>" + b"x" * 100_000
    with serving(lambda method, path: Answer(400, page)) as script, client(script.url) as gemini:
        with pytest.raises(OutcomeUnknownError) as caught:
            gemini.get_job(NAME)

        assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("status", [409, 200])
def test_a_name_that_is_taken_is_a_refusal_whatever_the_status_says(status: int) -> None:
    taken = {"error": {"message": "abc already exists.", "code": 409}}

    def reply(method: str, path: str) -> Answer:
        if "upload_id" not in path:
            return Answer(headers={"X-Goog-Upload-URL": f"{script.url}/upload/v1beta/files?upload_id=1"})
        return Answer(status, taken, headers={"X-Goog-Upload-Status": "final"})

    with serving(reply) as script, client(script.url) as gemini:
        with pytest.raises(RefusedError, match="already exists") as caught:
            gemini.upload(io.BytesIO(b"0"), name="files/abc", display_name="n")

        assert caught.value.code == 409
        assert script.count("POST") == 2


def test_the_listing_is_read_to_its_end_over_empty_pages_in_the_middle() -> None:
    pages: dict[str, dict[str, Any]] = {
        "": {"operations": [FAILED], "nextPageToken": "2"},
        "2": {"nextPageToken": "3"},
        "3": {"operations": [{**FAILED, "name": "batches/last"}]},
    }

    def reply(method: str, path: str) -> Answer:
        return Answer(body=pages[path.partition("pageToken=")[2].partition("&")[0]])

    with serving(reply) as script, client(script.url) as gemini:
        assert [job.name for job in gemini.list_jobs()] == [NAME, "batches/last"]


def test_a_listing_that_never_ends_is_an_error_not_a_loop() -> None:
    with (
        serving(lambda method, path: Answer(body={"nextPageToken": "same"})) as script,
        client(script.url) as gemini,
        pytest.raises(OutcomeUnknownError, match="does not end"),
    ):
        list(gemini.list_jobs())


def test_a_look_that_was_dropped_is_repeated() -> None:
    answers = [Answer(body=None), Answer(body=None), Answer(body=FAILED)]
    with serving(lambda method, path: answers.pop(0)) as script, client(script.url) as gemini:
        assert gemini.get_job(NAME).name == NAME


def test_an_unknown_file_is_absent_though_the_service_says_forbidden() -> None:
    with serving(lambda method, path: Answer(403, error(403, "PERMISSION_DENIED"))) as script, client(script.url) as gemini:
        assert gemini.get_file("files/abc") is None


@pytest.mark.parametrize(
    "sha256_hash",
    [
        "NTk3Yjk2ZTVjN2QyYjBkMDFhY2RjODBkZDBiY2Q2NTNkYTA5OWJiMjZkODEwNmIxMmQ4NzBlZGFkZjI4MzdmYw==",  # base64 of hex, as seen
        "WXuW5cfSsNAazcgN0LzWU9oJm7JtgQaxLYcO2t8oN/w=",  # base64 of the digest, as documented
    ],
)
def test_a_digest_is_understood_in_both_of_its_forms(sha256_hash: str) -> None:
    body = {"name": "files/abc", "sizeBytes": "202", "sha256Hash": sha256_hash, "state": "ACTIVE"}
    with serving(lambda method, path: Answer(body=body)) as script, client(script.url) as gemini:
        file = gemini.get_file("files/abc")

    assert file is not None
    assert (file.size, file.is_usable) == (202, True)
    assert file.sha256 == "597b96e5c7d2b0d01acdc80dd0bcd653da099bb26d8106b12d870edadf2837fc"


def test_the_key_travels_in_the_header_only_and_stays_out_of_every_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")  # would make the SDK another client
    with serving(lambda method, path: Answer(body=FAILED)) as script, client(script.url) as gemini:
        gemini.get_job(NAME)

        assert CANARY not in repr(gemini.endpoint)
        assert script.seen[0][1] == f"/v1beta/{NAME}"
        assert script.seen[0][2]["x-goog-api-key"] == CANARY


@pytest.mark.parametrize("key", ["", " padded ", "line\nbreak", "ключ"])
def test_a_key_that_cannot_be_one_is_refused_before_anything_is_sent(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ApiKeyError):
        GeminiClient(Endpoint(api_key=key))


def test_a_job_name_from_outside_cannot_reach_another_path() -> None:
    with serving(lambda method, path: Answer(body=FAILED)) as script, client(script.url) as gemini:
        with pytest.raises(InputError):
            gemini.get_job("batches/x?y=1")

        assert script.seen == []
