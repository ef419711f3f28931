"""``Emulator(answers=…)``: the answers of a test's own function, in jobs and in interactive calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types

from airflow_gemini_batch.emulator import Emulator
from tests.integration.emulator.conftest import MODEL


def words(request: dict[str, Any]) -> Any:
    text = request["contents"][0]["parts"][0]["text"]
    if text == "raise":
        raise ZeroDivisionError
    return {"length": len(text)} if text.startswith("count") else "Yes." if text.endswith("?") else None


def asked(text: str) -> types.InlinedRequestDict:
    return {"contents": [{"parts": [{"text": text}], "role": "user"}]}


@pytest.fixture
def emulator(tmp_path: Path) -> Any:
    with Emulator(tmp_path / "service", answers=words, pending_seconds=0, running_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def client(emulator: Emulator) -> genai.Client:
    return genai.Client(api_key="any", vertexai=False, http_options={"base_url": emulator.url})


def test_texts_and_values_are_answers_and_none_leaves_it_to_the_emulator(emulator: Emulator, client: genai.Client) -> None:
    job = client.batches.create(model=MODEL, src=[asked("Is it so?"), asked("count me"), asked("Rain falls.")])
    emulator.wait_idle()

    job = client.batches.get(name=job.name or "")

    texts = [answer.response.text for answer in job.dest.inlined_responses]
    assert texts == ["Yes.", json.dumps({"length": 8}), "Rain falls."]
    assert client.models.generate_content(model=MODEL, contents="Is it so?").text == "Yes."


def test_a_job_in_which_the_function_raises_fails_and_the_next_one_does_not(emulator: Emulator, client: genai.Client) -> None:
    jobs = [client.batches.create(model=MODEL, src=[asked(text)]) for text in ("raise", "Is it so?")]
    emulator.wait_idle()

    states = [client.batches.get(name=job.name or "").state for job in jobs]

    assert [state.name for state in states if state] == ["JOB_STATE_FAILED", "JOB_STATE_SUCCEEDED"]
