"""``gemini-batch estimate``."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch import GenerateRequest, run_batch
from tests.integration.cli.conftest import Command

pytestmark = pytest.mark.integration

MODEL = "gemini-3.6-flash"
PRICES = json.dumps({MODEL: {"input": 1.0, "output": 4.0}})


@pytest.fixture
def source(tmp_path: Path) -> str:
    pq.write_table(pa.table({"body": ["a text", "a text", "another", None]}), tmp_path / "rows.parquet")
    return str(tmp_path / "rows.parquet")


def test_it_says_what_would_be_sent(source: str, gemini_batch: Command) -> None:
    words = ["estimate", source, "--model", MODEL, "--prompt", "About ${body}", "--option", f"prices={PRICES}"]

    code, lines, _ = gemini_batch(*words)

    assert code == 0
    assert lines[0].startswith(f"2 of 4 rows are sent to {MODEL}: $")
    assert lines[1] == "not sent: 1 invalid, 1 deduplicated"
    assert any(line.startswith("output tokens: 0 to 131,072") for line in lines)


def test_a_trial_and_json(source: str, gemini_batch: Command, tmp_path: Path, emulator: object) -> None:
    request = {"type": "generate", "prompt": "About ${body}"}
    (tmp_path / "request.json").write_text(json.dumps(request))
    trial = str(tmp_path / "trial")
    run_batch(
        source, GenerateRequest(prompt="About ${body}"), model=MODEL, destination=trial, sample=9, options={"poll_interval": 0.05}
    )

    words = ["estimate", source, "--model", MODEL, "--request", str(tmp_path / "request.json"), "--trial", trial]
    code, lines, _ = gemini_batch(*words, "--option", f"prices={PRICES}", "--json")

    found = json.loads("\n".join(lines))
    assert code == 0
    assert found["usd"]["low"] == found["usd"]["high"] > 0
    assert found["requests"] == 2


def test_a_request_that_cannot_be_read_is_one_line(source: str, gemini_batch: Command, tmp_path: Path) -> None:
    code, _, errors = gemini_batch("estimate", source, "--model", MODEL, "--request", str(tmp_path / "absent.json"))

    assert code == 1
    assert "absent.json cannot be read" in errors
