"""The emulator's webhooks, the plugin's receiver, and connections with webhook settings."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.plugin import GeminiBatchPlugin
from airflow_gemini_batch.plugin.webhooks import build_receiver
from tests.integration.airflow.conftest import MODEL
from tests.unit.webhooks import signing

SECRET = f"whsec_{signing.SECRET}"

#: With webhooks the service is polled ten times less often: never within a test.
SLOW = 30.0


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0.5, running_seconds=1, webhook_retry_seconds=0.3) as emulator:
        yield emulator


@pytest.fixture
def receiver() -> Iterator[str]:
    """The plugin's application where the API server mounts it; answers the address of the default connection."""
    [mounted] = [app for app in GeminiBatchPlugin.fastapi_apps if app["name"] == "gemini_batch_webhooks"]
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[Mount(mounted["url_prefix"], build_receiver())])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}{mounted['url_prefix']}/gemini_default"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "notifications"


@pytest.fixture
def registered(connect: Callable[..., None], receiver: str, folder: Path) -> None:
    """A registered webhook, whose secret is in the connection."""
    webhook = GeminiHook().webhooks.create(receiver, name="airflow")
    connect(extra=json.dumps({"webhook_signing_secret": webhook.secret, "webhook_folder": str(folder)}))


@pytest.fixture
def own(connect: Callable[..., None], receiver: str, folder: Path) -> None:
    """No registered webhook: each job has its own."""
    connect(extra=json.dumps({"webhook_uri": receiver, "webhook_folder": str(folder)}))


@pytest.fixture
def submit(emulator: Emulator, tmp_path: Path) -> Callable[..., list[str]]:
    def submit(count: int = 1, *, embeds: bool = False) -> list[str]:
        content = {"parts": [{"text": "hello"}]}
        request = {"content": content} if embeds else {"contents": [content]}
        (tmp_path / "one.jsonl").write_text(json.dumps({"key": "a", "request": request}) + "\n")
        model = "gemini-embedding-001" if embeds else MODEL
        with GeminiClient(GeminiHook().endpoint) as client, open(tmp_path / "one.jsonl", "rb") as file:
            sent = client.upload(file, name=None, display_name="one").name
            jobs = [client.create_job(model=model, input_file=sent, display_name=f"job {n}", embeds=embeds) for n in range(count)]
            return [job.name for job in jobs]

    return submit


def deliveries(emulator: Emulator, count: int = 1) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 15
    while True:
        found = emulator.deliveries()
        if len(found) >= count and all(delivery["state"] != "waiting" for delivery in found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def ended(emulator: Emulator) -> None:
    """Wait until all jobs have."""
    deadline = time.monotonic() + 15
    while any(job["state"] in ("BATCH_STATE_PENDING", "BATCH_STATE_RUNNING") for job in emulator.jobs()):
        assert time.monotonic() < deadline, emulator.jobs()
        time.sleep(0.05)
