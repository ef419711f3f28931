"""Runs that are judged, by a judge whose answers are a function of the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from airflow_gemini_batch import GenerateRequest, run_batch
from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint

OPTIONS = {"poll_interval": 0.05, "listing_lag": 0.1, "max_redrives": 0, "max_shard_requests": 7}
MODEL = "gemini-3.6-flash"
JUDGE_MODEL = "gemini-2.5-flash"
KEY = "AIzaCanaryKeyThatMustNotLeak0123456789"

#: From a prompt to an answer; None: the emulator's own.
Words = Callable[[str], Any]


@dataclass
class Model:
    """What the emulator's models answer, by prompt; which prompts judges were asked."""

    words: Words = lambda prompt: None
    prompts: list[str] = field(default_factory=list)

    def __call__(self, request: dict[str, Any]) -> Any:
        prompt = request["contents"][-1]["parts"][-1]["text"]
        if "responseJsonSchema" in json.dumps(request) or "response_json_schema" in json.dumps(request):
            self.prompts.append(prompt)
        return self.words(prompt)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def emulator(tmp_path: Path, model: Model) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", answers=model, pending_seconds=0, running_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def endpoint(emulator: Emulator) -> Endpoint:
    return Endpoint(api_key=KEY, base_url=emulator.url)


@pytest.fixture
def answered(endpoint: Endpoint, tmp_path: Path) -> Callable[..., Summary]:
    """Makes a run of rows ``k0``, ``k1``, … whose answer repeats their ``body``."""

    def run(rows: int = 12, name: str = "run", body: Callable[[int], str] = lambda row: f"number {row}", **given: Any) -> Summary:
        numbers = range(rows)
        columns = {
            "id": [f"k{row}" for row in numbers],
            "body": [body(row) for row in numbers],
            "expected": [f"number {row}" for row in numbers],
        }
        arguments: dict[str, Any] = {
            "model": MODEL,
            "destination": str(tmp_path / name),
            "key": "id",
            "carry": ["body", "expected"],
            "options": OPTIONS,
            "endpoint": endpoint,
            **given,
        }
        return run_batch(arguments.pop("source", pa.table(columns)), GenerateRequest(prompt="Repeat: ${body}"), **arguments)

    return run


def scored(destination: str, name: str = "default", scorer: str | None = None) -> dict[tuple[str, int], dict[str, Any]]:
    """The rows of the scores by key and repeat."""
    rows = ds.dataset(Path(destination) / "scores" / name).to_table().to_pylist()
    chosen = [row for row in rows if scorer in (None, row["scorer"])]
    by_row = {(row["key"], row["repeat"]): row for row in chosen}
    assert len(by_row) == len(chosen)
    return by_row


def paid(emulator: Emulator, model: str = JUDGE_MODEL) -> int:
    """Requests in the jobs of a model."""
    return sum(entry["requests"] for entry in emulator.journal("create") if entry["model"].endswith(model))
