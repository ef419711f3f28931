"""After a kill and a restart on the same folder, everything that was acknowledged exists and jobs continue."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from google.genai import types

from airflow_gemini_batch.emulator import Emulator, EmulatorProcess, HttpFault, JobFault
from airflow_gemini_batch.emulator.store import StateUnusable

MODEL = "gemini-2.5-flash"
LINES = b"".join(
    json.dumps({"key": f"r{number}", "request": {"contents": [{"parts": [{"text": "Describe rain."}]}]}}).encode() + b"\n"
    for number in range(2000)
)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path / "state", pending_seconds=10, running_seconds=100) as child:
        yield child


@pytest.fixture
def client(child, connect):
    return connect(child.url)


def restart(child: EmulatorProcess) -> None:
    child.kill()
    child.start()


def upload(client) -> types.File:
    return client.files.upload(file=io.BytesIO(LINES), config=types.UploadFileConfig(mime_type="jsonl"))


def test_files_and_jobs_survive_a_kill_and_running_jobs_continue(child, client):
    file = upload(client)
    job = client.batches.create(model=MODEL, src=file.name, config={"display_name": "survivor"})

    restart(child)

    assert client.files.get(name=file.name).sha256_hash == file.sha256_hash
    assert client.batches.get(name=job.name).state.name == "JOB_STATE_PENDING"
    child.advance(1000)
    done = client.batches.get(name=job.name)
    assert client.files.download(file=done.dest.file_name).count(b"\n") == 2000
    assert [entry["action"] for entry in child.journal()] == ["upload", "create"]


def test_a_finished_jobs_output_survives_a_kill(child, client):
    job = client.batches.create(model=MODEL, src=upload(client).name)
    child.advance(1000)
    output = client.batches.get(name=job.name).dest.file_name
    before = client.files.download(file=output)

    restart(child)

    assert client.files.download(file=output) == before


def test_the_clock_and_the_rules_survive_a_kill(child, client):
    child.faults.add(JobFault(do="fail", nth=2), HttpFault(do="status", path="/files/x", status=500, count=1))
    file = upload(client)
    first = client.batches.create(model=MODEL, src=file.name)
    child.advance(5000)

    restart(child)
    second = client.batches.create(model=MODEL, src=file.name)
    child.advance(1000)

    assert client.batches.get(name=first.name).state.name == "JOB_STATE_SUCCEEDED"
    assert client.batches.get(name=second.name).state.name == "JOB_STATE_FAILED"


def test_half_an_upload_survives_a_kill(child):
    headers = {"x-goog-api-key": "k", "X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
    headers["X-Goog-Upload-Header-Content-Length"] = str(len(LINES))
    begun = httpx.post(f"{child.url}/upload/v1/files", headers=headers, json={}, trust_env=False)
    url = begun.headers["x-goog-upload-url"]
    half = len(LINES) // 2

    def send_command(command: str, offset: int = 0, content: bytes = b"") -> httpx.Response:
        steps = {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": str(offset)}
        return httpx.post(url, headers=steps, content=content, trust_env=False)

    send_command("upload", 0, LINES[:half])
    restart(child)

    assert send_command("query").headers["x-goog-upload-size-received"] == str(half)
    assert send_command("upload, finalize", half, LINES[half:]).json()["file"]["sizeBytes"] == str(len(LINES))


def test_a_kill_while_outputs_are_written_loses_nothing(child, client):
    file = upload(client)
    jobs = [client.batches.create(model=MODEL, src=file.name, config={"display_name": str(n)}) for n in range(10)]

    for _ in range(3):
        restart(child)
    child.advance(1000)

    for job in jobs:
        done = client.batches.get(name=job.name)
        assert client.files.download(file=done.dest.file_name).count(b"\n") == 2000


def test_it_starts_without_airflow_and_without_the_engine():
    code = "import sys, airflow_gemini_batch.emulator; print(*sys.modules)"
    root = Path(__file__).parents[3]

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout.split()

    assert "airflow_gemini_batch.emulator.app" in loaded
    assert [name for name in loaded if name.split(".")[0] == "airflow" or "airflow_gemini_batch.engine" in name] == []


def test_the_folder_of_another_version_is_not_touched(tmp_path):
    with Emulator(tmp_path / "state"):
        pass
    with sqlite3.connect(tmp_path / "state" / "emulator.sqlite3") as database:
        database.execute("PRAGMA user_version = 1")
    database.close()

    with pytest.raises(StateUnusable, match=r"written by another version of the emulator\. Delete it or choose another folder"):
        Emulator(tmp_path / "state")
