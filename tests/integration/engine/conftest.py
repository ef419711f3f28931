"""The engine against the emulator over HTTP, with jobs that end at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.api import run_batch
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import DEFAULT_API_VERSION, Endpoint, GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.api_version import API_VERSION

MODEL = "gemini-3.6-flash"
KEY = "AIzaCanaryKeyThatMustNotLeak0123456789"
#: Long enough for a listing on loopback, short enough for a test.
SHORT_WAITS = BatchOptions(claim_lease=3.0, listing_lag=0.3, poll_interval=0.05, max_redrives=0, max_shard_requests=5)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def endpoint(emulator: Emulator) -> Endpoint:
    return Endpoint(api_key=KEY, base_url=emulator.url, api_version=API_VERSION or DEFAULT_API_VERSION, request_timeout=10.0)


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[GeminiClient]:
    with GeminiClient(endpoint) as client:
        yield client


def table(rows: int, start: int = 0) -> pa.Table:
    """Rows ``k0``, ``k1``, … whose answer contains their own number, so that a misjoined row is seen."""
    numbers = range(start, start + rows)
    return pa.table({"id": [f"k{number}" for number in numbers], "body": [f"number {number}" for number in numbers]})


@pytest.fixture
def go(endpoint: Endpoint, tmp_path: Path) -> Callable[..., Summary]:
    """One call of the engine with short waits; every argument can be given."""

    def call(**arguments: Any) -> Summary:
        given: dict[str, Any] = {
            "source": table(12),
            "request": GenerateRequest(prompt="Repeat: ${body}"),
            "model": MODEL,
            "destination": str(tmp_path / "run"),
            "key": "id",
            "carry": ["body"],
            "endpoint": endpoint,
        }
        given.update(arguments)
        chosen = {field.name: given.pop(field.name) for field in fields(BatchOptions) if field.name in given}
        given["options"] = replace(SHORT_WAITS, **chosen)
        return run_batch(given.pop("source"), given.pop("request"), **given)

    return call


def read(tmp_path: Path, table_name: str) -> list[dict[str, Any]]:
    """All rows of one of the run's tables, by key."""
    rows: list[dict[str, Any]] = []
    for part in sorted((tmp_path / "run" / table_name).glob("*.parquet")):
        rows += pq.read_table(part).to_pylist()
    return sorted(rows, key=lambda row: row["key"])


def creates(emulator: Emulator) -> list[str]:
    """The display names under which jobs have been created."""
    return [entry["display_name"] for entry in emulator.journal("create")]


@pytest.fixture
def earlier(tmp_path: Path) -> str:
    """Where an earlier run lies, in a folder of runs."""
    return str(tmp_path / "lake" / "monday")
