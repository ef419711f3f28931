"""Bringing an output home whole, where the service does not say how large it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_gemini_batch.engine.collect.download import fetch_output
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, JobStats
from airflow_gemini_batch.engine.run.storage import locate
from tests.integration.engine.scripted_server import Answer, serving

pytestmark = pytest.mark.integration

LINES = b"".join(json.dumps({"key": f"k{number}", "response": {"candidates": []}}).encode() + b"\n" for number in range(3))
TOO_LONG = {"error": {"code": 400, "message": "File ID cannot be more than 40 characters.", "status": "INVALID_ARGUMENT"}}


@pytest.mark.parametrize("cut", [LINES[:-20], LINES[: LINES.rindex(b"\n", 0, -1) + 1], LINES[:10], b""])
@pytest.mark.parametrize("stats", [JobStats(), JobStats(total=3, succeeded=3)])
def test_an_output_that_came_short_is_fetched_again(cut: bytes, stats: JobStats, tmp_path: Path) -> None:
    bodies = [cut, LINES]
    target = locate(str(tmp_path / "responses"))
    job = Job("batches/a", JobState.SUCCEEDED, output_file="files/batch-a", stats=stats)

    def reply(method: str, path: str) -> Answer:
        return Answer(body=bodies.pop(0)) if ":download" in path else Answer(400, TOO_LONG)

    with serving(reply) as script, GeminiClient(Endpoint(api_key="k", base_url=script.url)) as client:
        fetch_output(client, job, target, requests=3)

    assert target.read() == LINES


@pytest.mark.parametrize("whole", [LINES, LINES[:-1], LINES.replace(b"\n", b"\r\n"), LINES + b"\n \n"])
def test_an_output_that_is_whole_is_fetched_once_however_it_ends(whole: bytes, tmp_path: Path) -> None:
    bodies = [whole]
    target = locate(str(tmp_path / "responses"))
    job = Job("batches/a", JobState.SUCCEEDED, output_file="files/batch-a")

    def reply(method: str, path: str) -> Answer:
        return Answer(body=bodies.pop(0)) if ":download" in path else Answer(400, TOO_LONG)

    with serving(reply) as script, GeminiClient(Endpoint(api_key="k", base_url=script.url)) as client:
        fetch_output(client, job, target, requests=3)

    assert target.read() == whole
