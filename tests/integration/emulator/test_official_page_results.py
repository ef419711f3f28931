"""The official page's longer samples: waiting for a job, reading results of every form, and the same in curl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types

from airflow_gemini_batch.emulator import Emulator, JobFault, RowFault

MODEL = "gemini-2.5-flash"
ENDS = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}
ASK = {"contents": [{"parts": [{"text": "Why is the sky blue? Air scatters light."}], "role": "user"}]}


def watched(emulator: Emulator, client: genai.Client, name: str) -> types.BatchJob:
    """The page's loop. Instead of sleeping it moves the emulator's clock."""
    job = client.batches.get(name=name)
    while job.state.name not in ENDS:
        emulator.advance(30)
        job = client.batches.get(name=name)
    return job


def printed(client: genai.Client, job: types.BatchJob) -> list[str]:
    """What the page's sample for reading results prints."""
    if job.state.name != "JOB_STATE_SUCCEEDED":
        return [f"Job did not succeed. Final state: {job.state.name}"]
    if job.dest and job.dest.file_name:
        return client.files.download(file=job.dest.file_name).decode().splitlines()
    if job.dest and job.dest.inlined_responses:
        return [item.response.text if item.response else f"Error: {item.error.code}" for item in job.dest.inlined_responses]
    return ["No results found (neither file nor inline)."]


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel", "expire"])
def test_the_monitoring_loop_stops_at_every_final_state(emulator: Emulator, client: genai.Client, end: str):
    emulator.faults.add(JobFault(do=end))
    created = client.batches.create(model=MODEL, src=[ASK])

    job = watched(emulator, client, created.name)

    assert job.state.name.lower().removeprefix("job_state_").startswith(end)
    assert job.error is None  # the SDK drops it, even for a FAILED job, where the page prints it


def test_results_of_a_file_job_are_one_line_per_request(emulator: Emulator, client: genai.Client, steps):
    job = watched(emulator, client, steps.submit(3).name)

    assert [json.loads(line)["key"] for line in printed(client, job)] == ["r0", "r1", "r2"]


def test_results_of_an_inline_job_are_texts_and_errors(emulator: Emulator, client: genai.Client):
    emulator.faults.add(RowFault(do="error", code=13, lines=[2], details=[]))
    created = client.batches.create(model=MODEL, src=[ASK, ASK])

    text, error = printed(client, watched(emulator, client, created.name))

    assert "sky blue" in text
    assert error == "Error: 13"


def test_an_expired_job_has_no_results(emulator: Emulator, client: genai.Client):
    emulator.faults.add(JobFault(do="hang"))
    created = client.batches.create(model=MODEL, src=[ASK])
    emulator.advance(48 * 3600)

    assert printed(client, watched(emulator, client, created.name)) == ["Job did not succeed. Final state: JOB_STATE_EXPIRED"]


@pytest.fixture
def curl(emulator: Emulator) -> Callable[..., Any]:
    def call(path: str, *arguments: str) -> Any:
        command = ["curl", "-sS", "--fail-with-body", f"{emulator.url}{path}", "-H", "x-goog-api-key: any", *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert answer.returncode == 0, answer.stdout
        return json.loads(answer.stdout)

    return call


def test_create_get_cancel_and_delete_in_curl(emulator: Emulator, curl: Callable[..., Any], tmp_path: Path):
    request = {"contents": [{"parts": [{"text": "Describe rain."}]}]}
    requests = {"requests": {"requests": [{"request": request, "metadata": {"key": "request-1"}}]}}
    batch = {"batch": {"display_name": "my-batch-requests", "input_config": requests}}
    body = ["-X", "POST", "-H", "Content-Type:application/json", "-d", json.dumps(batch)]

    first, second = (curl(f"/v1beta/models/{MODEL}:batchGenerateContent", *body) for _ in range(2))
    assert curl(f"/v1beta/{first['name']}:cancel", "-X", "POST") == {}
    emulator.advance(1000)

    assert curl(f"/v1beta/{first['name']}")["metadata"]["state"] == "BATCH_STATE_CANCELLED"
    [answer] = curl(f"/v1beta/{second['name']}")["response"]["inlinedResponses"]["inlinedResponses"]
    assert answer["metadata"] == {"key": "request-1"}
    assert curl(f"/v1beta/{first['name']}", "-X", "DELETE") == {}
    assert [job["name"] for job in curl("/v1beta/batches")["operations"]] == [second["name"]]


def test_the_pages_calls_without_a_method_are_gets_and_do_nothing(emulator: Emulator, tmp_path: Path):
    """As printed, the samples for cancel and delete send GET, which the service has no route for: `docs/official-samples.md`."""
    with httpx.Client(base_url=emulator.url, headers={"x-goog-api-key": "any"}, trust_env=False) as http:
        request = {"contents": [{"parts": [{"text": "Tell me a joke."}]}]}
        body = {"batch": {"input_config": {"requests": {"requests": [{"request": request}]}}}}
        name = http.post(f"/v1beta/models/{MODEL}:batchGenerateContent", json=body).json()["name"]

        assert [http.get(f"/v1beta/{name}:{method}").status_code for method in ("cancel", "delete")] == [404, 404]
        assert http.get(f"/v1beta/{name}").json()["metadata"]["state"] == "BATCH_STATE_PENDING"


def test_the_rest_sample_for_webhooks_chooses_the_id(emulator: Emulator):
    body = {
        "name": "My Example Webhook",
        "uri": "https://my-api.com/gemini-callback",
        "subscribed_events": ["batch.succeeded", "batch.failed"],
    }
    with httpx.Client(base_url=emulator.url, headers={"x-goog-api-key": "any"}, trust_env=False) as http:
        made = http.post("/v1/webhooks?webhook_id=my-example-webhook-123", json=body)
        again = http.post("/v1/webhooks?webhook_id=my-example-webhook-123", json=body)
        nonsense = http.post("/v1/webhooks?webhook_id=a/b", json=body)

        assert (made.json()["id"], made.json()["name"]) == ("my-example-webhook-123", "My Example Webhook")
        assert (again.status_code, again.json()["error"]["status"]) == (409, "ALREADY_EXISTS")
        assert nonsense.status_code == 400
        assert http.get("/v1/webhooks/my-example-webhook-123").json()["uri"] == body["uri"]
