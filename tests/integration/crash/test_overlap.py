"""A process is killed while two steps of a pass overlap. The next pass goes on: one job for each shard, and balanced tables."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import KEY, MODEL, SHORT_WAITS, creates, table
from tests.integration.engine.held_store import run_in

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).with_name("advance_and_die.py")
SHARDS, ROWS = 6, 30


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[GeminiClient]:
    with GeminiClient(Endpoint(api_key=KEY, base_url=emulator.url, request_timeout=10.0)) as client:
        yield client


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run, _ = run_in(tmp_path / "lake")
    spec = RunSpec(table(ROWS), GenerateRequest(prompt="Repeat: ${body}"), MODEL, key="id", carry=("body",))
    build_run(run, spec, SHORT_WAITS)
    return run


def die(at: str, tmp_path: Path, emulator: Emulator) -> None:
    arguments = [sys.executable, str(SCRIPT), str(tmp_path / "lake"), emulator.url, at]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def finish(run: Run, client: GeminiClient, emulator: Emulator) -> Summary:
    while isinstance(state := advance(run, client, SHORT_WAITS, patient=True), Waiting):
        emulator.wait_idle()
    return state


def uploads(emulator: Emulator) -> list[str]:
    return [entry["display_name"] for entry in emulator.journal("upload")]


def require_whole(summary: Summary, emulator: Emulator, tmp_path: Path) -> None:
    rows = ds.dataset(tmp_path / "lake" / "run" / "results", exclude_invalid_files=True).to_table().to_pylist()
    assert (summary.results, summary.balanced) == (ROWS, True)
    assert sorted(row["key"] for row in rows) == sorted(f"k{number}" for number in range(ROWS))
    assert all(row["body"] in row["text"] for row in rows)
    shards = [re.findall(r"shard (\d+)", name)[0] for name in creates(emulator)]
    assert sorted(shards) == [str(number) for number in range(SHARDS)], "one job for each shard"


def test_killed_during_a_create_with_the_next_shards_uploaded(
    run: Run, client: GeminiClient, emulator: Emulator, tmp_path: Path
) -> None:
    die("create", tmp_path, emulator)
    assert (len(creates(emulator)), len(uploads(emulator))) == (2, 4)

    summary = finish(run, client, emulator)

    require_whole(summary, emulator, tmp_path)
    assert len(uploads(emulator)) == len(set(uploads(emulator))) == SHARDS, "what was uploaded ahead was found"


def test_killed_during_landing_with_the_next_output_downloaded(
    run: Run, client: GeminiClient, emulator: Emulator, tmp_path: Path
) -> None:
    advance(run, client, SHORT_WAITS)
    emulator.wait_idle()
    die("land", tmp_path, emulator)
    kept = [file.name for file in (run.destination / "_run" / "responses").children()]
    assert kept == ["shard-00000-0.jsonl", "shard-00001-0.jsonl"]

    summary = finish(run, client, emulator)

    require_whole(summary, emulator, tmp_path)
