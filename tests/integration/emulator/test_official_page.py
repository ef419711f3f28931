"""The samples of the official Batch API page, run with the unmodified SDK."""

from __future__ import annotations

import base64
import json
import subprocess

import httpx
import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel

from airflow_gemini_batch.emulator import Emulator

PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = pytest.mark.filterwarnings("ignore::google.genai.errors.ExperimentalWarning")


class Recipe(BaseModel):
    recipe_name: str
    ingredients: list[str]


def ask(text: str, **config: object) -> dict[str, object]:
    request: dict[str, object] = {"contents": [{"parts": [{"text": text}], "role": "user"}]}
    return {**request, "config": config} if config else request


def finished(emulator: Emulator, client: genai.Client, job: types.BatchJob) -> types.BatchJob:
    emulator.advance(1000)
    return client.batches.get(name=job.name)


def test_an_inline_job_answers_its_requests_in_order(emulator, client):
    requests = [ask("Tell me a one-sentence joke."), ask("Why is the sky blue? Because air scatters light.")]

    job = client.batches.create(model="models/gemini-2.5-flash", src=requests, config={"display_name": "inlined"})
    assert job.state.name == "JOB_STATE_PENDING"
    done = finished(emulator, client, job)

    assert done.state.name == "JOB_STATE_SUCCEEDED"
    texts = [item.response.text for item in done.dest.inlined_responses]
    assert len(texts) == 2
    assert "sky blue" in texts[1]


def test_a_job_from_an_uploaded_file_writes_a_file_of_answers(emulator, client, steps):
    uploaded = steps.upload(
        [steps.line("request-1", generation_config={"temperature": 0.7}), steps.line("request-2")],
        display_name="my-batch-requests",
    )

    job = client.batches.create(model="gemini-2.5-flash", src=uploaded.name, config={"display_name": "file-upload-job"})
    done = finished(emulator, client, job)

    lines = client.files.download(file=done.dest.file_name).decode().split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert [row["key"] for row in rows] == ["request-1", "request-2"]
    assert "about cats" in rows[0]["response"]["candidates"][0]["content"]["parts"][0]["text"]


def test_embeddings_from_a_file(emulator, client, steps):
    requests = [{"output_dimensionality": 3, "content": {"parts": [{"text": text}]}} for text in ("1", "2")]
    uploaded = steps.upload([{"key": f"request_{number}", "request": request} for number, request in enumerate(requests, 1)])

    job = client.batches.create_embeddings(
        model="gemini-embedding-2", src={"file_name": uploaded.name}, config={"display_name": "embeddings"}
    )
    finished(emulator, client, job)

    rows = steps.rows(job)
    assert [row["key"] for row in rows] == ["request_1", "request_2"]
    assert [len(row["response"]["embedding"]["values"]) for row in rows] == [3, 3]
    assert rows[0]["response"]["tokenCount"] == "1"


def test_inline_embeddings_arrive_as_embedding_responses(emulator, client):
    source = {"inlined_requests": {"contents": ["one text", "another text"], "config": {"output_dimensionality": 64}}}

    job = client.batches.create_embeddings(model="gemini-embedding-001", src=source, config={"display_name": "inline"})
    done = finished(emulator, client, job)

    vectors = [item.response.embedding.values for item in done.dest.inlined_embed_content_responses]
    assert [len(vector) for vector in vectors] == [64, 64]
    assert sum(value * value for value in vectors[0]) == pytest.approx(1)
    assert vectors[0] != vectors[1]


def test_a_system_instruction_for_one_request(emulator, client):
    request = ask("Explain batches.", system_instruction={"parts": [{"text": "You are a cat. Your name is Neko."}]})

    job = client.batches.create(model="gemini-2.5-flash", src=[request, ask("Explain batches.")])
    done = finished(emulator, client, job)

    with_cat, without = (item.response.usage_metadata for item in done.dest.inlined_responses)
    assert with_cat.prompt_token_count > without.prompt_token_count


def test_a_tool_for_one_request_brings_grounding(emulator, client):
    job = client.batches.create(model="gemini-2.5-flash", src=[ask("Who won the euro 2024?", tools=[{"google_search": {}}])])
    done = finished(emulator, client, job)

    [item] = done.dest.inlined_responses
    assert item.response.candidates[0].grounding_metadata.web_search_queries


def test_structured_output_follows_the_schema(emulator, client):
    config = {"response_mime_type": "application/json", "response_schema": list[Recipe]}
    requests = [ask("List a few popular cookie recipes, and include the amounts of ingredients.", **config) for _ in range(2)]

    job = client.batches.create(model="gemini-2.5-flash", src=requests)
    done = finished(emulator, client, job)

    for item in done.dest.inlined_responses:
        recipes = [Recipe.model_validate(recipe) for recipe in json.loads(item.response.text)]
        assert recipes


def test_monitoring_sees_every_state(emulator, client, steps):
    job = steps.submit()

    states = [steps.state(job)]
    for seconds in (11, 100):
        emulator.advance(seconds)
        states.append(steps.state(job))

    assert states == ["JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]


def test_a_webhook_for_ended_jobs(client):
    webhook = client.webhooks.create(
        name="MyBatchWebhook", subscribed_events=["batch.succeeded", "batch.failed"], uri="https://my-api.com/gemini-callback"
    )

    assert webhook.name == "MyBatchWebhook"
    assert webhook.new_signing_secret
    assert [found.id for found in client.webhooks.list().webhooks] == [webhook.id]


def test_listing_pages_through_all_jobs_newest_first(client, steps):
    names = [steps.submit(1, f"job-{number}").name for number in range(7)]

    listed = [job.name for job in client.batches.list(config={"page_size": 3})]

    assert listed == list(reversed(names))
    assert [job.name for job in client.batches.list()] == listed


def test_a_cancelled_job_is_cancelled_at_once(client, steps):
    job = steps.submit()

    client.batches.cancel(name=job.name)

    assert steps.state(job) == "JOB_STATE_CANCELLED"


def test_a_deleted_job_is_gone_from_the_list(client, steps):
    kept, deleted = steps.submit(1), steps.submit(1)

    client.batches.delete(name=deleted.name)

    assert [job.name for job in client.batches.list()] == [kept.name]
    with pytest.raises(genai.errors.ClientError, match="404"):
        client.batches.get(name=deleted.name)


def test_images_inline_are_valid_pictures(emulator, client):
    request = ask("A big letter A surrounded by animals.", response_modalities=["TEXT", "IMAGE"])

    job = client.batches.create(model="gemini-3-pro-image-preview", src=[request])
    done = finished(emulator, client, job)

    parts = done.dest.inlined_responses[0].response.candidates[0].content.parts
    assert parts[0].text
    assert parts[1].inline_data.mime_type == "image/png"
    assert parts[1].inline_data.data.startswith(PNG)


def test_images_from_a_file_are_valid_pictures(emulator, client, steps):
    line = steps.line("image", "A big letter A.", generation_config={"responseModalities": ["TEXT", "IMAGE"]})
    job = client.batches.create(model="gemini-3-pro-image-preview", src=steps.upload([line]).name)
    finished(emulator, client, job)

    [row] = steps.rows(job)
    [data] = [part["inlineData"]["data"] for part in row["response"]["candidates"][0]["content"]["parts"] if "inlineData" in part]
    assert base64.b64decode(data).startswith(PNG)


def test_the_page_in_curl_works_call_by_call(emulator, http: httpx.Client, tmp_path):
    """Display name in single quotes, the upload in two calls, snake_case, and the download under /download."""
    content = b'{"key": "r1", "request": {"contents": [{"parts": [{"text": "Describe rain."}]}]}}\n'
    (tmp_path / "body.jsonl").write_bytes(content)
    start = [
        *["curl", "-sS", "-D", "-", "-o", "/dev/null", f"{emulator.url}/upload/v1beta/files", "-H", "x-goog-api-key: any"],
        *["-H", "X-Goog-Upload-Protocol: resumable", "-H", "X-Goog-Upload-Command: start"],
        *["-H", f"X-Goog-Upload-Header-Content-Length: {len(content)}", "-H", "X-Goog-Upload-Header-Content-Type: jsonl"],
        *["-H", "Content-Type: application/jsonl", "-d", "{'file': {'display_name': 'BatchInput'}}"],
    ]
    headers = subprocess.run(start, check=True, capture_output=True, text=True).stdout
    [url] = [line.split(": ", 1)[1] for line in headers.splitlines() if line.lower().startswith("x-goog-upload-url")]
    send = ["curl", "-sS", url, "-H", "X-Goog-Upload-Offset: 0", "-H", "X-Goog-Upload-Command: upload, finalize"]
    send += ["--data-binary", f"@{tmp_path / 'body.jsonl'}"]
    file = json.loads(subprocess.run(send, check=True, capture_output=True).stdout)["file"]

    body = {"batch": {"display_name": "rest", "input_config": {"file_name": file["name"]}}}
    job = http.post("/v1beta/models/gemini-2.5-flash:batchGenerateContent", json=body).json()
    emulator.advance(1000)
    done = http.get(f"/v1beta/{job['name']}").json()
    rows = http.get(f"/download/v1beta/{done['response']['responsesFile']}:download?alt=media").text

    assert file["displayName"] == "BatchInput"
    assert json.loads(rows)["key"] == "r1"
    assert http.post(f"/v1beta/{job['name']}:cancel").json() == {}
    assert http.delete(f"/v1beta/{job['name']}").json() == {}


def test_an_inline_job_in_rest_carries_its_metadata(emulator, http: httpx.Client):
    request = {"request": {"contents": [{"parts": [{"text": "Describe the process of photosynthesis."}]}]}}
    requests = {"requests": {"requests": [{**request, "metadata": {"key": "request-1"}}]}}

    body = {"batch": {"display_name": "my-batch-requests", "input_config": requests}}
    job = http.post("/v1beta/models/gemini-2.5-flash:batchGenerateContent", json=body).json()
    emulator.advance(1000)
    done = http.get(f"/v1beta/{job['name']}").json()

    [row] = done["response"]["inlinedResponses"]["inlinedResponses"]
    assert row["metadata"] == {"key": "request-1"}
    assert done["metadata"]["output"] == {"inlinedResponses": {"inlinedResponses": [row]}}
    [listed] = http.get("/v1beta/batches").json()["operations"]
    assert "inlinedResponses" not in json.dumps(listed)
