"""The receiver: its answers, and the notifications it writes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.webhooks.events import JobEnded
from airflow_gemini_batch.webhooks.notifications import NotificationFolder
from airflow_gemini_batch.webhooks.receiver import MAX_BODY, Receiver
from airflow_gemini_batch.webhooks.settings import WebhookSettings
from tests.unit.webhooks.key_server import KeyServer, key_server
from tests.unit.webhooks.signing import KEY, NOW, OTHER, SECRET, payload, signed, token

EXTRA = {"webhook_signing_secret": f"whsec_{SECRET}"}


class Harness:
    """A receiver with a notification folder, and a sender of webhooks."""

    def __init__(self, folder: Path, extra: dict[str, Any]) -> None:
        self.folder = folder
        self.loads: list[str] = []
        self.extra = {"webhook_folder": str(folder), **extra}
        self.receiver = Receiver({"gemini_default"}, self.load, storage.locate, clock=lambda: NOW)

    def load(self, conn_id: str) -> WebhookSettings:
        self.loads.append(conn_id)
        return WebhookSettings.of_extra(self.extra)

    def files(self) -> list[str]:
        return sorted(file.name for file in self.folder.glob("*.*"))

    async def asend(self, body: bytes, headers: dict[str, str], path: str = "/gemini_default", method: str = "POST") -> int:
        transport = httpx.ASGITransport(self.receiver.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://us") as http:
            return (await http.request(method, path, content=body, headers=headers)).status_code

    def send(self, body: bytes, headers: dict[str, str] | None = None, **more: str) -> int:
        return asyncio.run(self.asend(body, signed(body) if headers is None else headers, **more))


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path / "notifications", EXTRA)


@pytest.mark.parametrize(
    ("event", "ending"), [("batch.succeeded", "succeeded"), ("batch.completed", "succeeded"), ("batch.cancelled", "cancelled")]
)
def test_the_end_of_a_job_writes_a_notification(harness, event, ending):
    assert harness.send(payload(event)) == 204
    assert harness.files() == [f"abc.{ending}"]


def test_a_bare_job_id_is_accepted(harness):
    harness.send(payload(job="batch_123456"))

    assert harness.files() == ["batch_123456.succeeded"]
    assert NotificationFolder(storage.locate(harness.folder)).found() == {JobEnded("batches/batch_123456", "succeeded")}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(payload("video.generated"), id="another event"),
        pytest.param(payload("ping"), id="ping"),
        pytest.param(payload("batch.melted"), id="unknown event"),
        pytest.param(payload(job="batches/../../etc/passwd"), id="a path"),
        pytest.param(payload(job=""), id="no job"),
        pytest.param(payload(job="batches/" + "x" * 400), id="long name"),
        pytest.param(payload(job="batches/.."), id="the folder above"),
        pytest.param(payload(job="batches/.hidden"), id="a hidden file"),
        pytest.param(b'{"type": "batch.succeeded", "data": {"id": 7}}', id="a number"),
        pytest.param(b'{"type": "batch.succeeded", "data": []}', id="another shape"),
        pytest.param(b"[" * 20_000, id="deep"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_signed_webhooks_without_a_usable_event_are_accepted_and_ignored(harness, body):
    assert harness.send(body) == 204
    assert harness.files() == []


def test_duplicates_are_accepted_and_write_one_notification(harness):
    assert [harness.send(payload()) for _ in range(3)] == [204, 204, 204]
    assert harness.files() == ["abc.succeeded"]


def test_unsigned_webhooks_are_refused_and_write_nothing(harness):
    body = payload()

    assert harness.send(body, {}) == 401
    assert harness.send(body, signed(body, OTHER)) == 401
    assert harness.send(body, signed(body, at=NOW - 3_600)) == 401
    assert harness.send(body, {"webhook-signature": token()}) == 401
    assert harness.files() == []


def test_other_paths_and_methods_are_not_served(harness):
    assert harness.send(payload(), path="/another_connection") == 404
    assert harness.send(payload(), path="/") == 404
    assert harness.send(b"", method="GET") == 405
    assert [harness.send(b"", method="GET", path=path) for path in ("/docs", "/openapi.json")] == [405, 405]
    assert harness.loads == []


def test_a_large_body_is_not_read(harness):
    body = b" " * (MAX_BODY + 1)

    assert harness.send(body) == 413
    assert harness.send(b"", {"content-length": "9" * 30}) == 413

    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 8192

    assert harness.send(chunks(), {}) == 413


@pytest.mark.parametrize("announced", [{}, {"content-length": "500"}])
def test_a_body_that_does_not_end_is_cut_off(announced, harness, monkeypatch):
    monkeypatch.setattr("airflow_gemini_batch.webhooks.receiver.BODY_TIMEOUT", 0.1)

    async def drops() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    assert harness.send(drops(), announced) == 408
    assert harness.loads == []
    assert harness.send(payload()) == 204


def test_a_connection_without_webhook_settings_refuses_all_webhooks(tmp_path):
    harness = Harness(tmp_path, {})

    assert harness.send(payload()) == 401


def test_a_connection_that_cannot_be_read_refuses_all_webhooks_and_no_secret_is_logged(tmp_path, caplog):
    harness = Harness(tmp_path, {"webhook_signing_secret": "whsec_almost/right-but-no-base64"})

    with caplog.at_level(logging.DEBUG):
        assert harness.send(payload()) == 401

    assert "almost" not in caplog.text
    assert "webhook_signing_secret" in caplog.text


def test_without_a_folder_a_webhook_is_accepted_and_the_log_warns(tmp_path, caplog):
    harness = Harness(tmp_path, {**EXTRA, "webhook_folder": ""})

    assert harness.send(payload()) == 204

    assert "gemini_default have no effect: its extra has no webhook_folder" in caplog.text


def test_a_burst_of_webhooks_reads_the_connection_once(harness):
    async def burst() -> None:
        for number in range(20):
            await harness.asend(payload(), signed(payload(), id=f"msg_{number}"))

    asyncio.run(burst())

    assert harness.loads == ["gemini_default"]


def test_a_folder_that_cannot_be_written_answers_503(harness):
    harness.folder.write_bytes(b"a file where the folder should be")
    assert harness.send(payload()) == 503

    harness.folder.unlink()

    assert harness.send(payload()) == 204
    assert harness.files() == ["abc.succeeded"]


def test_both_secrets_are_accepted_during_a_rotation(tmp_path):
    both = "whsec_" + "b3RoZXIgb3RoZXIgb3RoZXI= whsec_" + SECRET

    assert Harness(tmp_path / "k", {"webhook_signing_secret": both}).send(payload()) == 204


def test_old_notifications_are_removed(harness):
    harness.folder.mkdir()
    old, young, foreign = (harness.folder / name for name in ("old.failed", "young.failed", "notes.txt"))
    marks = harness.folder / "fired" / "abc"
    marks.mkdir(parents=True)
    for file in (old, young, foreign, marks / "old.failed"):
        file.touch()
    for file in (old, foreign, marks / "old.failed"):
        os.utime(file, (time.time() - 4 * 86_400,) * 2)

    async def send_and_wait() -> None:
        await harness.asend(payload(), signed(payload()))
        assert harness.receiver._sweeping is not None
        await harness.receiver._sweeping

    asyncio.run(send_and_wait())

    assert harness.files() == ["abc.succeeded", "notes.txt", "young.failed"]
    assert list(marks.iterdir()) == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    body=st.one_of(
        st.binary(max_size=300), st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
    ),
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "content-encoding"]),
        st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=80),
    ),
    is_signed=st.booleans(),
)
def test_any_body_and_any_headers_are_answered(harness: Harness, body: bytes, headers: dict[str, str], is_signed: bool) -> None:
    given_headers = {**headers, **(signed(body) if is_signed else {})}
    raw: Any = [(name.encode(), value.encode("latin-1")) for name, value in given_headers.items()]

    assert harness.send(body, raw) == (204 if is_signed else 401)


class TestTokens:
    """Webhooks of a single job, which have a token instead of a signature."""

    @pytest.fixture
    def server(self) -> Iterator[KeyServer]:
        with key_server() as server:
            yield server

    @pytest.fixture
    def harness(self, tmp_path: Path, server: KeyServer) -> Harness:
        return Harness(tmp_path / "notifications", {"webhook_uri": "https://us/hook", "webhook_jwks_url": server.url})

    def test_a_jobs_own_webhook_is_accepted(self, harness):
        assert harness.send(payload(), {"webhook-signature": token()}) == 204
        assert harness.files() == ["abc.succeeded"]

    def test_a_bad_token_is_refused(self, harness):
        assert harness.send(payload(), {"webhook-signature": token(aud="https://them")}) == 401
        assert harness.send(payload(), signed(payload(), KEY)) == 401
        assert harness.files() == []

    def test_tokens_with_invented_key_ids_are_refused_after_one_fetch(self, harness, server):
        answers = [harness.send(payload(), {"webhook-signature": token(kid=f"k{number}")}) for number in range(5, 15)]

        assert set(answers) == {401}
        assert server.requests == 1

    def test_without_keys_the_answer_is_503(self, harness, server):
        server.status = 500

        assert [harness.send(payload(), {"webhook-signature": token()}) for _ in range(3)] == [503, 503, 503]
        assert server.requests == 1

    def test_the_default_key_document_is_googles(self):
        settings = WebhookSettings.of_extra({"webhook_uri": "https://us/hook"})

        assert settings.jwks_url == "https://generativelanguage.googleapis.com/.well-known/jwks.json"


def test_a_secret_is_in_no_repr_and_in_no_message():
    settings = WebhookSettings.of_extra({"webhook_signing_secret": f"whsec_{SECRET}"})

    assert KEY.decode() not in repr(settings)
    with pytest.raises(InputError) as refused:
        WebhookSettings.of_extra({"webhook_signing_secret": "whsec_???"})
    assert "???" not in str(refused.value)
