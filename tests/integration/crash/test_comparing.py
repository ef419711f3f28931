"""``compare`` is killed at each of its steps; a comparison that can be read is always whole, and the next call completes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch import DestinationError, GenerateRequest, run_batch
from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.evals import Comparison, ExactMatch, compare, load_comparison, score

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = 30
SCRIPT = Path(__file__).with_name("compare_and_die.py")


def messages(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


def read(run: str) -> Comparison | None:
    try:
        return load_comparison(run)
    except DestinationError:
        return None


def without_time(found: Comparison | None) -> Comparison | None:
    return None if found is None else msgspec.structs.replace(found, created="", uri="")


def test_a_comparison_that_can_be_read_is_whole_wherever_a_call_was_killed(tmp_path: Path) -> None:
    runs, other = [str(tmp_path / name) for name in ("a", "b")], str(tmp_path / "c")
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        endpoint = Endpoint(api_key="AIzaAnyKey", base_url=emulator.url)
        for wrong, run in ((6, runs[0]), (0, runs[1]), (1, other)):
            bodies = [f"number {row}" if row >= wrong else "other" for row in range(ROWS)]
            expected = [f"number {row}" for row in range(ROWS)]
            rows = pa.table({"id": [f"k{row}" for row in range(ROWS)], "body": bodies, "expected": expected})
            run_batch(
                rows, GenerateRequest(prompt="Repeat: ${body}"), model="gemini-3.6-flash", destination=run, key="id",
                carry=["body", "expected"], endpoint=endpoint, options={"poll_interval": 0.05, "listing_lag": 0.1},
            )  # fmt: skip
            score(run, ExactMatch())
    wanted = compare(*runs, slices="body", margin=0.1, output=str(tmp_path / "elsewhere"))
    earlier = compare(other, runs[1])

    killed: list[str] = []
    report = tmp_path / "report.jsonl"
    while not any("compared" in message for message in messages(report)):
        arguments = json.dumps([*runs, str(report), killed])
        ended = subprocess.run([sys.executable, str(SCRIPT), arguments], capture_output=True, text=True, timeout=60)
        assert ended.returncode in (0, -9), ended.stderr
        killed = [message["killing_at"] for message in messages(report) if "killing_at" in message]
        found = read(runs[1])
        assert without_time(found) in (None, without_time(earlier), without_time(wanted))
        if found is not None:
            pairs = pq.read_table(Path(runs[1], "comparisons/default/pairs-00000.parquet"))
            assert (pairs.num_rows, sum(pairs["difference"].to_pylist())) == (ROWS, found["exact_match"].improved)

    assert without_time(read(runs[1])) == without_time(wanted)
    assert len(set(killed)) == len(killed) > 10
