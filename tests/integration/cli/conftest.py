"""An emulator that the commands find through the environment, and a finished run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_gemini_batch import GenerateRequest, cli, run_batch
from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient

#: (exit code, lines on stdout, text on stderr)
Output = tuple[int, list[str], str]
Command = Callable[..., Output]


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        monkeypatch.setenv("GOOGLE_API_KEY", "AIzaAnyKey")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
        yield emulator


@pytest.fixture
def run(emulator: Emulator, tmp_path: Path) -> str:
    """The destination of a finished run of two jobs whose input files have not been deleted."""
    emulator.faults.add(HttpFault(do="status", status=400, method="DELETE", path="/files/"))
    run_batch(
        pa.table({"body": ["a", "b", "c"]}),
        GenerateRequest(prompt="${body}"),
        model="gemini-3.6-flash",
        destination=str(tmp_path / "run"),
        options={"max_shard_requests": 2, "poll_interval": 0.05},
    )
    emulator.faults.clear()
    return str(tmp_path / "run")


@pytest.fixture
def gemini_batch(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``gemini-batch`` with these words in this process."""

    def gemini_batch(*words: str) -> Output:
        code = cli.main(words)
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return gemini_batch


def job_names(*states: str) -> list[str]:
    """The names of all jobs at the service, or of those in these states."""
    with GeminiClient(Endpoint()) as client:
        return [job.name for job in client.list_jobs() if not states or job.state.value in states]
