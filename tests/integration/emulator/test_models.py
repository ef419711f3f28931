"""Which models the emulator knows. Every other name is answered as by the service."""

from __future__ import annotations

import httpx
import pytest
from google.genai import errors

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.emulator.models.names import MODELS
from tests.integration.emulator.conftest import KEY, MODEL

INLINE = {"batch": {"inputConfig": {"requests": {"requests": [{"request": {"contents": [{"parts": [{"text": "Hi."}]}]}}]}}}}
CALLS = {
    "generateContent": {"contents": [{"parts": [{"text": "Hi."}]}]},
    "countTokens": {"contents": [{"parts": [{"text": "Hi."}]}]},
    "batchGenerateContent": INLINE,
}


@pytest.mark.parametrize(
    "name", ["gemini-9-flash", "gemini-2.5-flsh", "gemini-1.5-flash", "imagen-4", "gpt-4o", "Gemini-2.5-flash"]
)
@pytest.mark.parametrize("method", CALLS)
def test_an_unknown_model_is_refused_in_the_services_words(http: httpx.Client, emulator: Emulator, name: str, method: str):
    answer = http.post(f"/v1beta/models/{name}:{method}", json=CALLS[method])

    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "code": 404,
        "message": f"models/{name} is not found for API version v1beta, or is not supported for {method}. "
        "Call ListModels to see the list of available models and their supported methods.",
        "status": "NOT_FOUND",
    }
    assert emulator.jobs() == []


def test_an_unknown_model_is_not_found_by_the_sdk(client):
    with pytest.raises(errors.ClientError, match="models/gemini-9 is not found") as caught:
        client.models.get(model="gemini-9")

    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize("name", MODELS)
def test_every_listed_model_can_be_used_in_a_batch(http: httpx.Client, name: str):
    method = "batchGenerateContent" if "batchGenerateContent" in MODELS[name] else "asyncBatchEmbedContent"
    request = (
        {"contents": [{"parts": [{"text": "Hi."}]}]} if method.startswith("batch") else {"content": {"parts": [{"text": "Hi."}]}}
    )
    body = {"batch": {"inputConfig": {"requests": {"requests": [{"request": request}]}}}}

    assert http.post(f"/v1beta/models/{name}:{method}", json=body).is_success
    assert http.get(f"/v1beta/models/{name}").json()["supportedGenerationMethods"] == list(MODELS[name])


def test_models_are_named_on_start(start, connect):
    emulator = start(models=("gemini-9-flash", "models/my-embedding-1"))
    client = connect(emulator.url)

    assert client.models.get(model="gemini-9-flash").supported_actions == client.models.get(model=MODEL).supported_actions
    assert client.models.embed_content(model="my-embedding-1", contents="Hi.").embeddings
    assert {"models/gemini-9-flash", "models/my-embedding-1"} <= {model.name for model in client.models.list()}
    with pytest.raises(errors.ClientError, match="is not found"):
        client.models.get(model="gemini-9-pro")


def test_the_listing_has_pages(http: httpx.Client):
    names: list[str] = []
    token = ""
    while True:
        page = http.get("/v1/models", params={"pageSize": 7, "pageToken": token}, headers={"x-goog-api-key": KEY}).json()
        names += [model["name"] for model in page["models"]]
        assert len(page["models"]) <= 7
        if not (token := page.get("nextPageToken", "")):
            break

    assert names == [f"models/{name}" for name in MODELS]
