"""What the service says reaches people escaped and without the key: in tables, summaries, logs and errors of whole runs."""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, RowFault
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.collect.download import collect
from airflow_gemini_batch.engine.errors import GeminiBatchError, RefusedError, ServiceError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import KEY, MODEL, SHORT_WAITS, read, table
from tests.integration.engine.scripted_server import Answer, serving

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]

#: Ends a line, forges another, clears a terminal, turns the direction of a text, and echoes the key.
NASTY = f"said\r\nINFO forged \x1b[2J\x1b]8;;http://x\x07\x9b31m\u202eevil\u2066\u200f\u2028\ufeff {KEY} {KEY.lower()}"
RAW = [*"\r\x1b\x07\x9b\u202e\u2066\u200f\u2028\ufeff", KEY, KEY.lower(), "\nINFO forged"]


def assert_clean(text: str) -> None:
    assert "said" in text
    assert [raw for raw in RAW if raw in text] == []


def records(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("transport", ["file", "inline"])
def test_errors_of_rows(transport: str, go: Go, tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "airflow_gemini_batch")
    emulator.faults.add(RowFault(do="error", code=3, message=NASTY))

    summary = go(source=table(6), transport=transport, max_dead_letter_ratio=1.0)

    letters = read(tmp_path, "dead_letter")
    assert len(letters) == 6
    for letter in letters:
        assert_clean(letter["message"])
    assert_clean(str(summary))
    assert_clean(json.dumps(json.loads((tmp_path / "run" / "summary.json").read_text()), ensure_ascii=False))
    assert_clean(records(caplog))


def test_errors_of_jobs(go: Go, tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "airflow_gemini_batch")
    emulator.faults.add(JobFault(do="fail", error_code=3, error_message=NASTY))

    go(source=table(3), max_dead_letter_ratio=1.0)

    for letter in read(tmp_path, "dead_letter"):
        assert_clean(letter["message"])
    assert_clean(records(caplog))


@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_refusals(status: int, go: Go, emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "airflow_gemini_batch")
    body = {"error": {"code": status, "message": NASTY, "status": NASTY}}
    emulator.faults.add(HttpFault(do="status", status=status, body=body, path=":batchGenerateContent"))

    with pytest.raises(GeminiBatchError) as caught:
        go(source=table(3), timeout=0.5)

    error = caught.value
    shown = [str(error), repr(error), *traceback.format_exception_only(error), records(caplog)]
    if isinstance(error, ServiceError):
        shown.append(error.status)
    if isinstance(error, RefusedError):
        shown.append(error.service_message)
    assert_clean(" ".join(text.rstrip("\n") for text in shown))


WORDS: dict[str, dict[str, Any]] = {
    "a status": {"error": {"code": 3, "message": "m", "status": NASTY}},
    "a code": {"error": {"code": NASTY, "message": "m"}},
    "a text": {"error": NASTY},
    "a status beside": {"status": {"code": 3, "message": NASTY, "details": [{NASTY: NASTY}]}},
    "a finish message": {"response": {"candidates": [{"finishReason": "SAFETY", "finishMessage": NASTY}]}},
    "a finish reason without content": {"response": {"candidates": [{"finishReason": NASTY}]}},
    "a finish reason with content": {
        "response": {"candidates": [{"finishReason": NASTY, "content": {"parts": [{"text": "said"}]}}]}
    },
    "a block reason": {"response": {"promptFeedback": {"blockReason": NASTY, "blockReasonMessage": NASTY}}},
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words_at_any_place_of_a_line(words: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "airflow_gemini_batch")
    job = {
        "name": "batches/abc",
        "done": True,
        "metadata": {"state": "BATCH_STATE_SUCCEEDED", "displayName": "", "batchStats": {"requestCount": "1"}},
        "response": {"responsesFile": "files/batch-abc"},
    }
    output = json.dumps({"key": "k0", **words}).encode() + b"\n"

    def reply(method: str, path: str) -> Answer:
        if ":download" in path:
            return Answer(body=output)
        if "/files/" in path:
            return Answer(body={"name": "files/batch-abc", "sizeBytes": str(len(output))})
        return Answer(body={"operations": [job]} if path.partition("?")[0].endswith("/batches") else job)

    run = Run(locate(str(tmp_path / "run")))
    build_run(run, RunSpec(table(1), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)
    [shard] = run.built().shards
    with serving(reply) as script, GeminiClient(Endpoint(api_key=KEY, base_url=script.url, request_timeout=5.0)) as client:
        collect(run, client, shard, client.get_job("batches/abc"), SHORT_WAITS)

    for letter in read(tmp_path, "dead_letter"):
        assert_clean(f"said {letter['message']} {letter['status']} {letter['reason']}")
    assert [raw for raw in RAW if raw in records(caplog)] == []


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
def test_files_of_a_run_have_the_permissions_that_the_umask_leaves(mask: int, go: Go, tmp_path: Path) -> None:

    before = os.umask(mask)
    try:
        go(source=table(6))
    finally:
        os.umask(before)

    found = list((tmp_path / "run").rglob("*"))
    assert len(found) > 10
    assert [path for path in found if path.stat().st_mode & mask] == []
