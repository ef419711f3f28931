"""Batches of the OpenAI compatibility layer over plain HTTP. Files use the unmodified SDK, as on Google's page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors

from airflow_gemini_batch.emulator import Emulator, JobFault, RowFault
from tests.integration.emulator.conftest import MODEL

CHAT = "/v1/chat/completions"


def line(key: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    given = {"model": MODEL, "messages": [{"role": "user", "content": "Repeat: Rain falls."}], **body}
    return {"custom_id": key, "method": "POST", "url": url, "body": given}


@pytest.fixture
def openai(emulator: Emulator) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer good-key"}
    with httpx.Client(base_url=f"{emulator.url}/v1beta/openai", headers=headers, timeout=30, trust_env=False) as client:
        yield client


def create(openai: httpx.Client, file: str, endpoint: str = CHAT) -> httpx.Response:
    return openai.post("/batches", json={"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"})


def test_the_compatibility_layers_sample_works_call_by_call(
    emulator: Emulator, client: genai.Client, steps, openai: httpx.Client
):
    uploaded = steps.upload([line("request-1"), line("request-2", max_tokens=1)])

    batch = create(openai, uploaded.name).json()
    assert (batch["object"], batch["status"]) == ("batch", "validating")
    emulator.advance(50)
    assert openai.get(f"/batches/{batch['id']}").json()["status"] == "in_progress"
    emulator.advance(1000)
    done = openai.get(f"/batches/{batch['id']}").json()

    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    rows = [json.loads(text) for text in client.files.download(file=done["output_file_id"]).splitlines()]
    assert [row["custom_id"] for row in rows] == ["request-1", "request-2"]
    completion = rows[0]["response"]["body"]
    assert completion["object"] == "chat.completion"
    assert completion["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Rain falls."}, "finish_reason": "stop"}
    ]
    assert completion["usage"] == {"promptTokens": 5, "completionTokens": 3, "totalTokens": 8}
    assert rows[1]["response"]["body"]["choices"][0]["finish_reason"] == "length"


def test_embeddings_have_openais_format(emulator: Emulator, client: genai.Client, steps, openai: httpx.Client):
    body = {"model": "gemini-embedding-001", "input": "Rain falls.", "dimensions": 4}
    uploaded = steps.upload([{**line("e1", "/v1/embeddings"), "body": body}])

    batch = create(openai, uploaded.name, "/v1/embeddings").json()
    emulator.advance(1000)

    output = openai.get(f"/batches/{batch['id']}").json()["output_file_id"]
    body = json.loads(client.files.download(file=output))["response"]["body"]
    assert [len(vector["embedding"]) for vector in body["data"]] == [4]
    assert body["usage"] == {"promptTokens": 3, "totalTokens": 3}


def test_a_job_of_geminis_own_api_serves_openais_lines(emulator: Emulator, client: genai.Client, steps):
    uploaded = steps.upload([line("request-1"), line("request-2", model="gpt-4o")])

    job = client.batches.create(model=MODEL, src=uploaded.name)
    emulator.advance(1000)

    rows = steps.rows(job)
    assert [row["custom_id"] for row in rows] == ["request-1", "request-2"]
    assert {row["response"]["body"]["choices"][0]["message"]["content"] for row in rows} == {"Rain falls."}
    assert {row["response"]["body"]["model"] for row in rows} == {MODEL}
    assert client.batches.get(name=job.name).model == f"models/{MODEL}"


def test_an_embedding_job_of_geminis_own_api_serves_openais_lines(emulator: Emulator, client: genai.Client, steps):
    body = {"model": "text-embedding-3-small", "input": "Rain falls.", "dimensions": 4}
    uploaded = steps.upload([{**line("e1", "/v1/embeddings"), "body": body}])

    job = client.batches.create_embeddings(model="gemini-embedding-001", src={"file_name": uploaded.name})
    emulator.advance(1000)

    [row] = steps.rows(job)
    assert len(row["response"]["body"]["data"][0]["embedding"]) == 4


def test_openais_lines_of_another_endpoint_are_not_served(client: genai.Client, steps):
    uploaded = steps.upload([{**line("e1", "/v1/embeddings"), "body": {"input": "Rain falls."}}])

    with pytest.raises(errors.ClientError, match="Error on line 1"):
        client.batches.create(model=MODEL, src=uploaded.name)


def test_request_settings_are_applied(emulator: Emulator, client: genai.Client, steps, openai: httpx.Client):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": schema}}]
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    uploaded = steps.upload([line("form", response_format=form), line("tools", tools=tools), line("other", logit_bias={"1": 1})])

    batch = create(openai, uploaded.name).json()
    emulator.advance(1000)

    output = openai.get(f"/batches/{batch['id']}").json()["output_file_id"]
    rows = [json.loads(text)["response"]["body"] for text in client.files.download(file=output).splitlines()]
    form_answer, call, other = (row["choices"][0] for row in rows)
    assert set(json.loads(form_answer["message"]["content"])) == {"name"}
    assert call["finish_reason"] == "tool_calls"
    assert call["message"]["tool_calls"][0]["function"]["name"] == "look_up"
    assert other["message"]["content"] == "Rain falls."


def test_a_row_that_fails_has_an_error_and_no_response(emulator: Emulator, client: genai.Client, steps, openai: httpx.Client):
    emulator.faults.add(RowFault(do="error", lines=[2], code=13, message="internal"))
    batch = create(openai, steps.upload([line("good"), line("bad")]).name).json()
    emulator.advance(1000)

    done = openai.get(f"/batches/{batch['id']}").json()

    bad = json.loads(client.files.download(file=done["output_file_id"]).splitlines()[1])
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert (bad["custom_id"], bad["response"], bad["error"]["code"]) == ("bad", None, 13)


def test_jobs_are_listed_newest_first_and_cancelled(client: genai.Client, steps, openai: httpx.Client):
    steps.submit(1)  # a job that was not created through this layer
    first, second = (create(openai, steps.upload([line("a")]).name).json()["id"] for _ in range(2))

    page = openai.get("/batches", params={"limit": 1}).json()
    rest = openai.get("/batches", params={"after": page["last_id"]}).json()
    cancelled = openai.post(f"/batches/{first}/cancel").json()

    assert ([job["id"] for job in page["data"]], page["has_more"]) == ([second], True)
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == ([first], False)
    assert cancelled["status"] == "cancelled"
    assert client.batches.get(name=first).state.name == "JOB_STATE_CANCELLED"


def test_a_failed_job_shows_its_error(emulator: Emulator, steps, openai: httpx.Client):
    emulator.faults.add(JobFault(do="fail", error_message="it broke"))
    batch = create(openai, steps.upload([line("a")]).name).json()
    emulator.advance(1000)

    failed = openai.get(f"/batches/{batch['id']}").json()

    assert (failed["status"], failed["errors"]["data"][0]["message"]) == ("failed", "it broke")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"model": MODEL}, "'messages' is missing"),
        ({"model": MODEL, "messages": "Hi."}, "a field has the wrong type"),
        (
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/a"}}]}],
            },
            "image_url must be a data: URI",
        ),
    ],
)
def test_a_bad_line_is_explained(steps, openai: httpx.Client, body: dict[str, object], reason: str):
    refused = create(openai, steps.upload([{"custom_id": "a", "url": CHAT, "body": body}]).name)

    assert refused.status_code == 400
    assert reason in refused.json()["error"]["message"]


def test_what_the_layer_refuses(steps, openai: httpx.Client):
    good = steps.upload([line("a")]).name
    bad = steps.upload([line("a"), line("b", "/v1/embeddings"), {"custom_id": "c", "url": CHAT, "body": {}}]).name

    refused = create(openai, bad)

    assert refused.status_code == 400
    assert [text[:15] for text in refused.json()["error"]["message"].splitlines()] == ["Error on line 2", "Error on line 3"]
    assert create(openai, good, "/v1/responses").status_code == 400
    assert create(openai, "files/nope").status_code == 404
    assert openai.get("/batches/batches/nope").status_code == 404
    assert openai.get("/files").status_code == 404
    assert openai.get("/batches", headers={"Authorization": ""}).status_code == 403
