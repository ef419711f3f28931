"""A call with a judge is killed again and again, each time at another step; then every row has its verdict, paid for once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from airflow_gemini_batch import GenerateRequest, run_batch
from airflow_gemini_batch.emulator import EmulatorProcess
from airflow_gemini_batch.engine.gemini.client import Endpoint

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = 30
#: The steps are divided into so many parts, of which two are tried: each kill costs some seconds.
PARTS = 8
SCRIPT = Path(__file__).with_name("score_and_die.py")


def messages(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


@pytest.mark.parametrize("part", [0, 4])
def test_no_verdict_is_paid_for_twice_and_none_is_lost(part: int, tmp_path: Path) -> None:
    run, report = str(tmp_path / "run"), tmp_path / "report.jsonl"
    with EmulatorProcess(tmp_path / "service", pending_seconds=0.2, running_seconds=0.2) as emulator:
        endpoint = Endpoint(api_key="AIzaAnyKey", base_url=emulator.url)
        rows = pa.table({"id": [f"k{row}" for row in range(ROWS)], "body": [f"number {row % 24}" for row in range(ROWS)]})
        run_batch(
            rows, GenerateRequest(prompt="Repeat: ${body}"), model="gemini-3.6-flash", destination=run, key="id", carry=["body"],
            endpoint=endpoint, options={"poll_interval": 0.1},
        )  # fmt: skip

        killed: list[str] = []
        while not any("scored" in message for message in messages(report)):
            arguments = json.dumps([run, emulator.url, str(report), killed, [part, PARTS]])
            ended = subprocess.run([sys.executable, str(SCRIPT), arguments], capture_output=True, text=True, timeout=60)
            assert ended.returncode in (0, -9), ended.stderr
            killed = [message["killing_at"] for message in messages(report) if "killing_at" in message]

        judged = [entry for entry in emulator.journal("create") if entry["model"].endswith("gemini-2.5-flash")]
        assert sum(entry["requests"] for entry in judged) == 24
        assert len({entry["display_name"] for entry in judged}) == len(judged) == 3
    table = ds.dataset(Path(run) / "scores" / "default").to_table().to_pylist()
    assert len({(row["key"], row["scorer"]) for row in table}) == len(table) == 2 * ROWS
    assert {row["status"] for row in table} == {"scored"}
    assert len(set(killed)) == len(killed) > 10
