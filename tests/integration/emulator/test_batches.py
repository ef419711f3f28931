"""Jobs: what create refuses, the format of an operation, and the effect of each call."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from google.genai import errors

MODEL = "gemini-2.5-flash"
NANOSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def create(http: httpx.Client, *requests: dict, model: str = MODEL, **batch: object) -> httpx.Response:
    body = {"batch": {"inputConfig": {"requests": {"requests": [{"request": one} for one in requests]}}, **batch}}
    return http.post(f"/v1/models/{model}:batchGenerateContent", json=body)


def prompt(text: str = "Describe rain.", **settings: object) -> dict:
    return {"contents": [{"parts": [{"text": text}]}], **settings}


def test_a_new_job_looks_like_the_services_own(client, steps, http):
    job = steps.submit(5, "Example")

    operation = http.get(f"/v1/{job.name}").json()

    metadata = operation["metadata"]
    assert set(operation) == {"name", "metadata"}
    assert re.fullmatch(r"batches/[a-z0-9]{36}", operation["name"])
    assert metadata["@type"] == "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
    assert metadata["batchStats"] == {"requestCount": "5", "pendingRequestCount": "5"}
    assert metadata["state"] == "BATCH_STATE_PENDING"
    assert metadata["inputConfig"]["fileName"].startswith("files/")
    assert NANOSECONDS.fullmatch(metadata["createTime"])


def test_counters_move_while_a_job_runs(emulator, steps, http):
    job = steps.submit(100)

    emulator.advance(10 + 50)

    stats = http.get(f"/v1/{job.name}").json()["metadata"]["batchStats"]
    assert 49 <= int(stats["successfulRequestCount"]) <= 52
    assert int(stats["successfulRequestCount"]) + int(stats["pendingRequestCount"]) == 100


def test_a_finished_job_shows_its_output_twice(emulator, steps, http):
    job = steps.submit(3)
    emulator.advance(1000)

    operation = http.get(f"/v1/{job.name}").json()

    output = {"responsesFile": "files/batch-" + job.name.removeprefix("batches/")}
    assert operation["done"] is True
    assert operation["metadata"]["output"] == output
    assert {name: value for name, value in operation["response"].items() if name != "@type"} == output
    assert operation["metadata"]["batchStats"] == {"requestCount": "3", "successfulRequestCount": "3"}


def test_a_cancelled_job_has_the_observed_error_and_its_counters(client, steps, http):
    job = steps.submit(3)
    client.batches.cancel(name=job.name)

    operation = http.get(f"/v1/{job.name}").json()

    assert operation["error"]["code"] == 13
    assert operation["error"]["message"].endswith("failed without error.")
    assert operation["metadata"]["batchStats"]["pendingRequestCount"] == "3"
    assert http.post(f"/v1/{job.name}:cancel").json() == {}


def test_every_bad_line_is_named_at_create(client, steps):
    bad = steps.line("b", thinking_config={"thinking_budget": 0})
    file = steps.upload([steps.line("a"), bad, steps.line("c", generationConfig={"responseFormats": []}), '{"key": "d",'])

    with pytest.raises(errors.ClientError) as caught:
        client.batches.create(model=MODEL, src=file.name)

    assert caught.value.code == 400
    first, second, third = caught.value.message.split("\n")
    column = json.dumps(bad).index('"thinking_config"') + len('"thinking_config"') + 1
    assert first == f"Error on line 2: invalid JSON, near column {column}: no such field: 'thinking_config'"
    assert second.startswith("Error on line 3:")
    assert second.endswith("no such field: 'responseFormats'")
    assert third.startswith("Error on line 4: invalid JSON, near column ")


@pytest.mark.parametrize(
    "settings",
    [
        {"generation_config": {"response_mime_type": "application/json", "response_schema": {"type": "OBJECT"}}},
        {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"$defs": {}, "type": "object"}}},
        {"system_instruction": {"parts": {"text": "one part instead of a list"}}},
        {"systemInstruction": {"parts": [{"text": "x"}]}, "safetySettings": [{"category": "A", "threshold": "OFF"}]},
        {"tools": [{"google_search": {}}, {"functionDeclarations": []}], "tool_config": {"functionCallingConfig": {}}},
    ],
)
def test_both_spellings_are_accepted(emulator, client, steps, settings):
    job = client.batches.create(model=MODEL, src=steps.upload([steps.line("a", **settings)]).name)
    emulator.advance(1000)

    assert "response" in steps.rows(job)[0]


def test_requests_with_invalid_values_fail_alone(emulator, client, steps, http):
    lines = [steps.line("good"), {"key": "empty", "request": {"contents": []}}]
    lines.append({"key": "foreign", "request": {"contents": [{"parts": [{"fileData": {"fileUri": "https://x/v1/files/nope"}}]}]}})
    job = client.batches.create(model=MODEL, src=steps.upload(lines).name)
    emulator.advance(1000)

    good, empty, foreign = steps.rows(job)

    assert "response" in good
    assert (empty["key"], empty["error"]["code"]) == ("empty", 3)
    assert (foreign["key"], foreign["error"]["code"]) == ("foreign", 7)
    stats = http.get(f"/v1/{job.name}").json()["metadata"]["batchStats"]
    assert stats == {"requestCount": "3", "successfulRequestCount": "1", "failedRequestCount": "2"}


def test_a_line_without_key_gets_an_answer_without_key(emulator, client, steps):
    job = client.batches.create(model=MODEL, src=steps.upload([{"request": prompt()}, "", prompt()]).name)
    emulator.advance(1000)

    assert [set(row) for row in steps.rows(job)] == [{"response"}, {"response"}]


def test_unusual_keys_are_returned_unchanged(emulator, client, steps):
    keys = ["", "é ü \u2028", "\\", '"', "a" * 500, "\ud800"]
    job = client.batches.create(model=MODEL, src=steps.upload([steps.line(key, "Describe rain.") for key in keys]).name)
    emulator.advance(1000)

    assert [row["key"] for row in steps.rows(job)] == keys


@pytest.mark.parametrize("model", ["gpt-4", "flash", "models"])
def test_an_unknown_model_answers_404_in_the_services_words(http, model):
    answer = create(http, prompt(), model=model)

    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"
    assert answer.json()["error"]["message"].startswith(
        f"models/{model} is not found for API version v1, or is not supported for batchGenerateContent."
    )


def test_a_missing_key_answers_403_and_a_bad_one_400(emulator, http):
    missing = httpx.get(f"{emulator.url}/v1/batches", trust_env=False)
    bad = http.get("/v1/batches", headers={"x-goog-api-key": "invalid-key"})

    assert (missing.status_code, missing.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert (bad.status_code, bad.json()["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    assert httpx.get(f"{emulator.url}/v1/batches?key=good", trust_env=False).json() == {}


def test_jobs_and_files_belong_to_the_project_of_the_key(start, connect, tmp_path):
    emulator = start(keys=("one=red", "two=red", "three=blue"))
    one, two, three = (connect(emulator.url, key) for key in ("one", "two", "three"))
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"key": "a", "request": prompt()}) + "\n")
    file = one.files.upload(file=path, config={"mime_type": "jsonl"})
    job = one.batches.create(model=MODEL, src=file.name)

    assert two.batches.get(name=job.name).name == job.name
    assert two.files.get(name=file.name).name == file.name
    with pytest.raises(errors.ClientError, match="404"):
        three.batches.get(name=job.name)
    with pytest.raises(errors.ClientError, match="403"):
        three.files.get(name=file.name)
    with pytest.raises(errors.ClientError, match=r"404.*Requested entity was not found"):
        three.batches.create(model=MODEL, src=file.name)
    with pytest.raises(errors.ClientError, match="API key not valid"):
        list(connect(emulator.url, "four").batches.list())


def test_too_many_jobs_answer_429_without_retry_info(start, connect):
    client = connect(start(max_active_jobs=2).url)
    first, _ = (client.batches.create(model=MODEL, src=[prompt()]) for _ in range(2))

    with pytest.raises(errors.ClientError) as caught:
        client.batches.create(model=MODEL, src=[prompt()])
    assert caught.value.code == 429
    assert [detail["@type"] for detail in caught.value.details["error"]["details"]] == ["type.googleapis.com/google.rpc.Help"]
    client.batches.cancel(name=first.name)
    assert client.batches.create(model=MODEL, src=[prompt()]).state.name == "JOB_STATE_PENDING"


def test_jobs_above_the_limit_can_wait_in_pending(start, connect):
    emulator = start(max_active_jobs=1, overflow="rest")
    client = connect(emulator.url)
    first, second = (client.batches.create(model=MODEL, src=[prompt()]) for _ in range(2))

    emulator.advance(200)
    assert client.batches.get(name=first.name).state.name == "JOB_STATE_SUCCEEDED"
    assert client.batches.get(name=second.name).state.name == "JOB_STATE_PENDING"
    emulator.advance(200)

    assert client.batches.get(name=second.name).state.name == "JOB_STATE_SUCCEEDED"


def test_enqueued_tokens_are_counted_per_model(start, connect):
    client = connect(start(max_enqueued_tokens=1000).url)
    long = prompt("word " * 600)
    client.batches.create(model=MODEL, src=[long])

    with pytest.raises(errors.ClientError, match="429"):
        client.batches.create(model=MODEL, src=[long])
    assert client.batches.create(model="gemini-2.5-pro", src=[long]).name


def test_an_inline_job_of_twenty_megabytes_is_too_large(http):
    answer = create(http, prompt("x" * (20 << 20)))

    assert answer.status_code == 400
    assert "payload size exceeds the limit" in answer.json()["error"]["message"]


def test_a_job_that_does_not_end_within_forty_eight_hours_expires(start, connect):
    emulator = start(pending_seconds=100 * 3600)
    client = connect(emulator.url)
    job = client.batches.create(model=MODEL, src=[prompt()])

    emulator.advance(49 * 3600)

    done = client.batches.get(name=job.name)
    assert done.state.name == "JOB_STATE_EXPIRED"
    assert done.dest is None


def test_empty_inputs_and_unknown_files_are_refused(client, steps, http):
    with pytest.raises(errors.ClientError, match="400"):
        client.batches.create(model=MODEL, src=steps.upload([]).name)
    with pytest.raises(errors.ClientError, match=r"404.*Requested entity was not found"):
        client.batches.create(model=MODEL, src="files/nothing")
    assert http.get("/v1/batches/" + "x" * 36).json() == {
        "error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}
    }
    assert http.get("/v1/batches").json() == {}


def test_a_priority_change_returns_the_batch(http, steps):
    job = steps.submit(1)

    changed = http.patch(f"/v1beta/{job.name}:updateGenerateContentBatch?updateMask=priority", json={"priority": "5"}).json()

    assert (changed["name"], changed["priority"]) == (job.name, "5")


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_all_api_versions_behave_the_same(http, steps, version):
    job = steps.submit(1)

    assert http.get(f"/{version}/{job.name}").json()["name"] == job.name


def test_prompts_can_be_tried_interactively(client):
    answer = client.models.generate_content(model=MODEL, contents="Summarise: Rain falls. It is wet.")
    vector = client.models.embed_content(model="gemini-embedding-2", contents="rain", config={"output_dimensionality": 8})
    counted = client.models.count_tokens(model=MODEL, contents="Summarise: Rain falls.")

    assert answer.text == "Rain falls. It is wet."
    assert len(vector.embeddings[0].values) == 8
    assert counted.total_tokens > 0
    assert MODEL in {model.name.removeprefix("models/") for model in client.models.list()}
