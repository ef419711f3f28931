"""``gemini-batch doctor``."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from airflow_gemini_batch.cli import checks
from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from tests.integration.cli.conftest import Command

pytestmark = pytest.mark.integration

MODEL = "gemini-3.6-flash"


def checks_of(gemini_batch: Command, *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    code, lines, _ = gemini_batch("doctor", *words, "--json")
    document = json.loads("\n".join(lines))
    assert document["well"] == (code == 0)
    return code, {check["name"]: check for check in document["checks"]}


def test_all_is_well_and_nothing_is_left_behind(emulator: Emulator, gemini_batch: Command, tmp_path: Path) -> None:
    code, found = checks_of(gemini_batch, str(tmp_path / "runs"), "--model", MODEL)

    assert code == 0
    assert {check["state"] for check in found.values()} == {"ok"}, found
    expected = {"version", "google-genai", "key", "jobs", "files", "model", "price", "clock", "storage", "exclusive create"}
    assert expected <= set(found)
    assert not list((tmp_path / "runs").iterdir())
    assert not emulator.journal()


def test_people_read_lines(emulator: Emulator, gemini_batch: Command) -> None:
    code, lines, _ = gemini_batch("doctor", "--model", "gemini-none")

    assert code == 1
    assert any(line.startswith("ok       key: can list batch jobs at http://127.0.0.1") for line in lines)
    assert any(line.startswith("failed   model: ") for line in lines)
    assert "         → Correct 'gemini-none', or use a key that may use it." in lines


@pytest.mark.parametrize("status", [401, 403])
def test_a_bad_key_is_told_where_to_get_one(status: int, emulator: Emulator, gemini_batch: Command) -> None:
    emulator.faults.add(HttpFault(do="status", status=status, path="/batches"))

    code, found = checks_of(gemini_batch, "--model", MODEL)

    assert (code, found["key"]["state"]) == (1, "failed")
    assert "https://aistudio.google.com/apikey" in found["key"]["advice"]
    assert found["clock"]["state"] == "ok"


def test_without_a_key(emulator: Emulator, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_API_KEY")

    code, found = checks_of(gemini_batch)

    assert (code, found["key"]["state"]) == (1, "failed")
    assert "set GOOGLE_API_KEY or GEMINI_API_KEY" in found["key"]["found"]


def test_nobody_answers(gemini_batch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaAnyKey")

    code, found = checks_of(gemini_batch, "--base-url", "http://127.0.0.1:9")

    assert code == 1
    assert "HTTPS_PROXY" in found["key"]["advice"]
    assert found["clock"]["state"] == "warning"


def test_active_jobs_are_counted_and_stuck_ones_are_named(
    gemini_batch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaAnyKey")
    with Emulator(tmp_path / "slow", pending_seconds=10**6, job_hours=1000) as emulator:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
        with GeminiClient(Endpoint()) as client:
            request = {"request": {"contents": [{"parts": [{"text": "a"}]}]}, "metadata": {"key": "0"}}
            job = client.create_job(model=MODEL, display_name="slow", requests=[request])
        fresh = checks_of(gemini_batch)[1]["jobs"]
        monkeypatch.setattr(checks, "_STUCK", dt.timedelta(0))

        code, found = checks_of(gemini_batch)

    assert (fresh["state"], fresh["found"]) == ("ok", "1 of 100 active (1 PENDING)")
    assert (code, found["jobs"]["state"]) == (0, "warning")
    assert found["jobs"]["advice"] == f"gemini-batch jobs cancel {job.name}"


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ("nosuchprotocol://bucket/runs", "No installed package opens nosuchprotocol://bucket/runs: Protocol not known"),
        ("/proc/runs", "/proc/runs"),
    ],
)
def test_a_place_that_cannot_be_written(destination: str, said: str, gemini_batch: Command) -> None:
    code, found = checks_of(gemini_batch, destination, "--offline")

    assert (code, found["storage"]["state"]) == (1, "failed")
    assert said in found["storage"]["found"]
    assert "key" not in found


def test_storage_without_exclusive_create_is_a_warning(gemini_batch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def pipe_file(self: MemoryFileSystem, path: str, value: bytes) -> None:
        with self.open(path, "wb") as file:
            file.write(value)

    assert checks_of(gemini_batch, "memory://runs", "--offline")[1]["exclusive create"]["state"] == "ok"
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)

    code, found = checks_of(gemini_batch, "memory://runs", "--offline")

    assert (code, found["exclusive create"]["state"]) == (0, "warning")
    assert "one task at a time" in found["exclusive create"]["advice"]
