"""A run that is built in groups is killed again and again, each time at another step, and makes the same files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch import GenerateRequest, run_batch
from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.gemini.client import Endpoint

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

#: The steps are divided into so many parts, of which two are tried: each kill costs some seconds.
PARTS = 8
SCRIPT = Path(__file__).with_name("build_and_die.py")
ROWS, FILES = 36, 3


def messages(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


def content(run: Path) -> dict[str, bytes]:
    """All files of a built run, apart from those that hold its id and time, whose shards are compared.

    Hidden files are what a killed process had not finished writing.
    """
    files = [file for file in run.rglob("*") if file.is_file() and not file.name.startswith(".")]
    found = {str(file.relative_to(run)): file.read_bytes() for file in files}
    manifest = json.loads(found.pop("_run/manifest.json"))
    shards = json.dumps([manifest["shards"], manifest["duplicates_sha256"]]).encode()
    return {name: data for name, data in found.items() if "/groups/" not in name} | {"shards": shards}


def build(source: Path, run: Path, report: Path, share: list[int]) -> list[str]:
    """Build, again after each kill. Returns where it was killed."""
    killed: list[str] = []
    while not any("built" in message for message in messages(report)):
        arguments = json.dumps([str(source), str(run), str(report), killed, share])
        ended = subprocess.run([sys.executable, str(SCRIPT), arguments], capture_output=True, text=True, timeout=60)
        assert ended.returncode in (0, -9), ended.stderr
        killed = [message["killing_at"] for message in messages(report) if "killing_at" in message]
    return killed


@pytest.mark.parametrize("part", [1, 6])
def test_a_killed_build_makes_the_same_files_and_nothing_is_paid_twice(part: int, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for file in range(FILES):
        numbers = range(file * ROWS // FILES, (file + 1) * ROWS // FILES)
        rows = {"id": [f"k{row}" for row in numbers], "body": [f"number {row % 20}" for row in numbers]}
        pq.write_table(pa.table(rows), source / f"{file}.parquet")
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    assert build(source, undisturbed, tmp_path / "undisturbed.jsonl", [PARTS, PARTS]) == []

    killed = build(source, run, tmp_path / "report.jsonl", [part, PARTS])

    assert len(set(killed)) == len(killed) > 5
    assert content(run) == content(undisturbed)
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        run_batch(
            str(source), GenerateRequest(prompt="Repeat: ${body}"), model="gemini-3.6-flash", destination=str(run), key="id",
            carry=["body"], endpoint=Endpoint(api_key="AIzaAnyKey", base_url=emulator.url), options={"poll_interval": 0.05},
        )  # fmt: skip
        assert sum(entry["requests"] for entry in emulator.journal("create")) == 20
    results = ds.dataset(run / "results").to_table().to_pylist()
    assert sorted(row["key"] for row in results) == sorted(f"k{row}" for row in range(ROWS))
    assert all(row["body"] in row["text"] for row in results)
