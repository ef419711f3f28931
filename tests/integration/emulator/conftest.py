"""The emulator on a free port, the unmodified SDK, and an HTTP client for what the SDK does not show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types

from airflow_gemini_batch.emulator import Emulator
from tests.integration.api_version import API_VERSION

KEY = "good-key"
MODEL = "gemini-2.5-flash"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Starts an emulator with options. All emulators of a test share a state folder and must not run at the same time."""
    started: list[Emulator] = []

    def begin(**options: Any) -> Emulator:
        options = {"pending_seconds": 10, "running_seconds": 100, **options}
        started.append(Emulator(tmp_path / "state", **options).start())
        return started[-1]

    yield begin
    for emulator in started:
        emulator.stop()


@pytest.fixture
def emulator(start: Callable[..., Emulator]) -> Emulator:
    return start()


@pytest.fixture
def connect() -> Iterator[Callable[..., genai.Client]]:
    clients: list[genai.Client] = []

    def client_of(url: str, key: str = KEY) -> genai.Client:
        options = types.HttpOptions(base_url=url, api_version=API_VERSION, timeout=30_000)
        clients.append(genai.Client(api_key=key, vertexai=False, http_options=options))
        return clients[-1]

    yield client_of
    for client in clients:
        client.close()


@pytest.fixture
def client(emulator: Emulator, connect: Callable[..., genai.Client]) -> genai.Client:
    return connect(emulator.url)


@pytest.fixture
def http(emulator: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=emulator.url, headers={"x-goog-api-key": KEY}, timeout=30, trust_env=False) as client:
        yield client


class Steps:
    """The steps that most tests need: upload an input file, submit a job, read its output."""

    def __init__(self, client: genai.Client, folder: Path) -> None:
        self.client = client
        self._folder = folder

    def upload(self, lines: list[Any], **config: Any) -> types.File:
        path = self._folder / "requests.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(text + "\n" for text in texts))
        return self.client.files.upload(file=path, config=types.UploadFileConfig(mime_type="jsonl", **config))

    def submit(self, count: int = 10, display_name: str = "job") -> types.BatchJob:
        file = self.upload([self.line(f"r{number}") for number in range(count)])
        return self.client.batches.create(model=MODEL, src=file.name, config={"display_name": display_name})

    def answers(self, job: types.BatchJob) -> bytes:
        done = self.client.batches.get(name=job.name)
        assert done.dest is not None, done.state
        return self.client.files.download(file=done.dest.file_name)

    def rows(self, job: types.BatchJob) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.answers(job).split(b"\n") if line.strip()]

    def state(self, job: types.BatchJob) -> str:
        return self.client.batches.get(name=job.name).state.name

    @staticmethod
    def line(key: str, text: str | None = None, **request: Any) -> dict[str, Any]:
        prompt = text or f"Summarise: Row {key} is about cats. They sleep all day."
        return {"key": key, "request": {"contents": [{"parts": [{"text": prompt}]}], **request}}


@pytest.fixture
def steps(client: genai.Client, tmp_path: Path) -> Steps:
    return Steps(client, tmp_path)
