"""Webhooks are registered, listed, rotated and deleted, as docs/webhooks.md shows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from airflow_gemini_batch.cli import main
from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.webhooks.settings import WebhookSettings
from tests.doc_snippets import DOCS, run_snippets
from tests.integration.airflow.conftest import KEY


def test_a_webhook_is_registered_once(emulator, connect):
    webhooks = GeminiHook().webhooks
    made = webhooks.create("http://127.0.0.1:1/hook", name="airflow")

    with pytest.raises(InputError, match="already registered"):
        webhooks.create("http://127.0.0.1:1/hook", name="airflow")

    assert made.secret is not None
    assert made.secret not in repr(made)
    [found] = webhooks.list()
    assert (found.id, found.name, found.is_enabled, found.secret) == (made.id, "airflow", True, None)
    assert webhooks.rotate(made.id) != made.secret
    webhooks.delete(made.id)
    webhooks.delete(made.id)
    assert webhooks.list() == []


def test_a_create_that_is_not_answered_is_not_repeated(emulator, connect):
    from airflow_gemini_batch.engine.errors import OutcomeUnknownError

    webhooks = GeminiHook().webhooks
    emulator.faults.add(HttpFault(do="status", method="POST", path="/webhooks", when="after"))

    with pytest.raises(OutcomeUnknownError, match="check before"):
        webhooks.create("http://127.0.0.1:1/hook", name="airflow")

    assert len(webhooks.list()) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(404, "NotFoundError"), (429, "QuotaError"), (403, "RefusedError"), (500, "OutcomeUnknownError")]
)
def test_its_errors_are_the_engines(emulator, connect, status, kind):
    emulator.faults.add(HttpFault(do="status", path="/webhooks", status=status))

    with pytest.raises(Exception, match="list the webhooks") as raised:
        GeminiHook().webhooks.list()

    assert type(raised.value).__name__ == kind
    assert KEY not in str(raised.value)


def test_a_dropped_connection_and_a_wrong_key_are_different_errors(emulator, connect):
    from airflow_gemini_batch.engine.errors import ApiKeyError, OutcomeUnknownError
    from airflow_gemini_batch.engine.gemini.webhooks import Webhooks

    emulator.faults.add(HttpFault(do="drop", path="/webhooks", count=1))
    with pytest.raises(OutcomeUnknownError):
        GeminiHook().webhooks.list()

    with pytest.raises(ApiKeyError):
        Webhooks(Endpoint(api_key="invalid", base_url=emulator.url)).list()


def test_the_page_runs_and_names_every_field(connect: Callable[..., None]) -> None:
    assert run_snippets("webhooks.md") == 2

    page = (DOCS / "webhooks.md").read_text(encoding="utf-8")
    read = re.findall(r'_text\(extra, "(\w+)"\)', inspect.getsource(WebhookSettings.of_extra))
    assert set(read) <= set(re.findall(r"`(\w+)`", page))


def test_the_command_line(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["webhooks", *words, "--base-url", emulator.url])
        return code, *capsys.readouterr()

    page = (DOCS / "webhooks.md").read_text(encoding="utf-8")
    [create] = re.findall(r"^gemini-batch webhooks (.+)$", page, re.MULTILINE)
    code, secret, _ = run(*create.split())
    assert (code, secret.startswith("whsec_")) == (0, True)
    webhook_id = run("list")[1].split()[0]
    assert run("rotate", webhook_id)[1].startswith("whsec_")
    assert [run(action, webhook_id)[0] for action in ("ping", "enable", "delete")] == [0, 0, 0]
    code, out, err = run("ping", webhook_id)
    assert (code, out) == (1, "")
    assert "404" in err or "not found" in err.lower()
