"""The emulator's bodies against Google's OpenAPI document, where `GEMINI_OPENAPI` names a copy of it.

The document is not part of this project. Where the observed service departs from it, the emulator follows the
service, and `DEPARTURES` says so.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from airflow_gemini_batch.emulator import JobFault

pytestmark = pytest.mark.skipif("GEMINI_OPENAPI" not in os.environ, reason="GEMINI_OPENAPI names no OpenAPI document")

MODEL = "gemini-2.5-flash"

#: Properties that real answers have and the document (revision of 2025-10) does not know.
DEPARTURES = {
    # The resource name is repeated in an operation's metadata; @type names the message.
    "GenerateContentBatch": {"@type"},
    "EmbedContentBatch": {"@type"},
    "GenerateContentBatchOutput": {"@type"},
    "EmbedContentBatchOutput": {"@type"},
    # The key of the input line, beside the response or the error of an output line.
    "InlinedResponse": {"key"},
    "InlinedEmbedContentResponse": {"key"},
    # A batch's embedding answers count their tokens, as a string.
    "EmbedContentResponse": {"tokenCount"},
    # google.rpc.Status over HTTP has the name of its code too, which the message itself does not have.
    "Status": {"status"},
}


@cache
def document() -> dict[str, Any]:
    return json.loads(Path(os.environ["GEMINI_OPENAPI"]).read_text())


@cache
def closed_schemas() -> dict[str, Any]:
    """The document's schemas, changed to refuse properties that they do not define."""
    schemas = json.loads(json.dumps(document()["components"]["schemas"]))
    for name, schema in schemas.items():
        if "properties" in schema:
            schema["properties"] |= {extra: {} for extra in DEPARTURES.get(name, ())}
            schema["additionalProperties"] = False
            # No field of a resource in an answer is required: the document's `required` refers to requests.
            schema.pop("required", None)
    # An operation is composed of two messages; closing each would refuse the other's properties.
    schemas["BaseOperation"].pop("additionalProperties")
    return schemas


def check(value: Any, message: str) -> None:
    schema = {"$ref": f"#/components/schemas/{message}", "components": {"schemas": closed_schemas()}}
    jsonschema.Draft202012Validator(schema).validate(value)


def batch(body: dict[str, Any]) -> dict[str, Any]:
    return {"batch": {"displayName": "n", **body}}


def inline(*requests: dict[str, Any]) -> dict[str, Any]:
    return batch({"inputConfig": {"requests": {"requests": [{"request": one, "metadata": {"key": "k"}} for one in requests]}}})


def test_the_check_itself_refuses_what_the_document_does_not_know():
    with pytest.raises(jsonschema.ValidationError):
        check({"name": "files/x", "colour": "red"}, "File")
    with pytest.raises(jsonschema.ValidationError):
        check({"sizeBytes": 5}, "File")


def test_files(steps, http: httpx.Client):
    file = steps.upload(["x"], display_name="n")

    check(http.get(f"/v1beta/{file.name}").json(), "File")
    check(http.get("/v1beta/files?pageSize=1").json(), "ListFilesResponse")


@pytest.mark.parametrize("fault", [JobFault(), JobFault(do="fail"), JobFault(do="expire"), JobFault(do="hang")])
def test_operations_of_file_jobs(emulator, steps, http: httpx.Client, fault):
    emulator.faults.add(fault)
    job = steps.submit(3)
    for _ in range(3):
        operation = http.get(f"/v1beta/{job.name}").json()
        check(operation, "Operation")
        check(operation["metadata"], "GenerateContentBatch")
        check(operation.get("response", {}), "GenerateContentBatchOutput")
        check(operation.get("error", {}), "Status")
        emulator.advance(60)

    check(http.get("/v1beta/batches").json(), "ListOperationsResponse")


def test_operations_of_inline_jobs(emulator, http: httpx.Client):
    settings = {"candidateCount": 2, "thinkingConfig": {"includeThoughts": True}, "responseModalities": ["TEXT", "IMAGE"]}
    tool = {"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}]}
    contents = [{"parts": [{"text": "Describe rain."}]}]
    body = inline(
        {"contents": contents, "generationConfig": settings, "tools": [{"googleSearch": {}}]},
        {"contents": contents, "tools": [{"codeExecution": {}}]},
        {"contents": [{"parts": [{"text": "Read https://example.com/a."}]}], "tools": [{"urlContext": {}}]},
        {"contents": contents, "tools": [tool]},
        {"contents": []},
    )
    job = http.post(f"/v1beta/models/{MODEL}:batchGenerateContent", json=body).json()
    emulator.advance(1000)

    operation = http.get(f"/v1beta/{job['name']}").json()

    check(operation["metadata"], "GenerateContentBatch")
    assert len(operation["response"]["inlinedResponses"]["inlinedResponses"]) == 5


def test_operations_of_embedding_jobs(emulator, http: httpx.Client):
    body = inline({"content": {"parts": [{"text": "rain"}]}, "outputDimensionality": 4})
    job = http.post("/v1beta/models/gemini-embedding-2:asyncBatchEmbedContent", json=body).json()
    check(job["metadata"], "EmbedContentBatch")
    emulator.advance(1000)

    check(http.get(f"/v1beta/{job['name']}").json()["metadata"], "EmbedContentBatch")


def test_output_lines(emulator, steps, client):
    lines = [steps.line("a"), {"key": "b", "request": {"contents": []}}]
    job = client.batches.create(model=MODEL, src=steps.upload(lines).name)
    emulator.advance(1000)

    for row in steps.rows(job):
        check(row, "InlinedResponse")


def test_interactive_answers(http: httpx.Client):
    content = {"parts": [{"text": "Describe rain."}]}

    check(http.post(f"/v1beta/models/{MODEL}:generateContent", json={"contents": [content]}).json(), "GenerateContentResponse")
    check(http.post(f"/v1beta/models/{MODEL}:countTokens", json={"contents": [content]}).json(), "CountTokensResponse")
    embedded = http.post("/v1beta/models/gemini-embedding-2:embedContent", json={"content": content}).json()
    check(embedded, "EmbedContentResponse")
    check(http.get("/v1beta/models").json(), "ListModelsResponse")


@pytest.mark.parametrize("path", ["/v1beta/files/nothing", "/v1beta/batches/nothing", "/v1beta/batches?pageToken=nonsense"])
def test_errors(http: httpx.Client, path):
    answer = http.get(path)

    assert answer.status_code >= 400
    check(answer.json()["error"], "Status")
