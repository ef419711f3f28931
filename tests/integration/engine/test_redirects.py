"""No redirect and no upload address takes the API key, or what is sent, to another origin. The official SDK is in between."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import OutcomeUnknownError, ServiceError
from airflow_gemini_batch.engine.gemini.caches import Caches
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.sdk import HTTP_CLIENT_VARIABLE
from airflow_gemini_batch.engine.gemini.webhooks import Webhooks
from tests.integration.engine.scripted_server import Answer, Script, serving

pytestmark = pytest.mark.integration

KEY = "AIzaCanaryKeyThatMustNotLeak0123456789"
BODY = b"canary of the body"
NAME = "batches/7h9w4gzuqot3bb3fpd1e2nqcp980iwnmjs7n"
STATUSES = (301, 302, 303, 307, 308)
LIBRARIES = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]


def _cached(endpoint: Endpoint, call: Callable[[Caches], object]) -> None:
    call(Caches(endpoint))


def _called(call: Callable[[GeminiClient], object]) -> Callable[[Endpoint, Path], object]:
    def run(endpoint: Endpoint, folder: Path) -> object:
        with GeminiClient(endpoint) as client:
            return call(client)

    return run


#: Every call that is made of the service.
CALLS: dict[str, Callable[[Endpoint, Path], object]] = {
    "create": _called(lambda c: c.create_job(model="m", input_file="files/x", display_name="canary of the body")),
    "create inline": _called(lambda c: c.create_job(model="m", requests=[{"request": {"x": BODY.decode()}}], display_name="n")),
    "create embeddings": _called(
        lambda c: c.create_job(model="m", input_file="files/x", display_name="canary of the body", embeds=True)
    ),
    "get": _called(lambda c: c.get_job(NAME)),
    "get operation": _called(lambda c: c.get_operation(NAME)),
    "list": _called(lambda c: list(c.list_jobs())),
    "cancel": _called(lambda c: c.cancel_job(NAME)),
    "delete": _called(lambda c: c.delete_job(NAME)),
    "upload": _called(lambda c: c.upload(io.BytesIO(BODY), name="files/abc", display_name="n")),
    "get file": _called(lambda c: c.get_file("files/abc")),
    "list files": _called(lambda c: list(c.list_files())),
    "delete file": _called(lambda c: c.delete_file("files/abc")),
    "download": lambda endpoint, folder: _called(lambda c: c.download("files/batch-abc", folder / "out"))(endpoint, folder),
    "create cache": lambda endpoint, folder: _cached(endpoint, lambda c: c.create(model="m", contents=BODY.decode())),
    "get cache": lambda endpoint, folder: _cached(endpoint, lambda c: c.get("cachedContents/x")),
    "extend cache": lambda endpoint, folder: _cached(endpoint, lambda c: c.extend("cachedContents/x")),
    "delete cache": lambda endpoint, folder: _cached(endpoint, lambda c: c.delete("cachedContents/x")),
    "list webhooks": lambda endpoint, folder: Webhooks(endpoint).list(),
    "create webhook": lambda endpoint, folder: Webhooks(endpoint).create("https://canary.example", name="n"),
    "delete webhook": lambda endpoint, folder: Webhooks(endpoint).delete("x"),
}


@pytest.fixture
def elsewhere() -> Iterator[Script]:
    """Another origin. Nothing may arrive there."""
    with serving(lambda method, path: Answer(body={"name": NAME, "metadata": {"name": NAME}})) as script:
        yield script


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(HTTP_CLIENT_VARIABLE, request.param)
    return str(request.param)


def endpoint(url: str) -> Endpoint:
    return Endpoint(api_key=KEY, base_url=url, request_timeout=20)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("call", CALLS)
def test_no_call_follows_a_redirect_to_another_origin(
    library: str, call: str, status: int, elsewhere: Script, tmp_path: Path
) -> None:
    with serving(lambda method, path: Answer(status, b"", {"Location": f"{elsewhere.url}{path}"})) as service:
        with pytest.raises(ServiceError) as caught:
            CALLS[call](endpoint(service.url), tmp_path)

        assert service.seen
    assert elsewhere.seen == []
    assert "redirect" in str(caught.value)
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize("status", STATUSES)
def test_a_part_of_an_upload_follows_no_redirect_to_another_origin(library: str, status: int, elsewhere: Script) -> None:
    def reply(method: str, path: str) -> Answer:
        if "upload_id" not in path:
            return Answer(headers={"X-Goog-Upload-URL": f"{service.url}/upload/v1beta/files?upload_id=1"})
        return Answer(status, b"", {"Location": f"{elsewhere.url}{path}"})

    with serving(reply) as service, pytest.raises(OutcomeUnknownError, match="redirect"):
        CALLS["upload"](endpoint(service.url), Path())

    assert elsewhere.seen == []


def test_an_upload_address_at_another_origin_gets_nothing(library: str, elsewhere: Script) -> None:
    def reply(method: str, path: str) -> Answer:
        return Answer(headers={"X-Goog-Upload-URL": f"{elsewhere.url}/upload/v1beta/files?upload_id=1"})

    with serving(reply) as service, pytest.raises(OutcomeUnknownError, match="upload address"):
        CALLS["upload"](endpoint(service.url), Path())

    assert elsewhere.seen == []


@pytest.mark.parametrize(
    "location",
    [
        "{elsewhere}/x",
        "//{elsewhere_host}/x",
        "http://localhost:{port}/x",
        "https://127.0.0.1:{port}/x",
        "http://{host}@{elsewhere_host}/x",
        "http://127.0.0.1.:{port}/x",
        "http://[::1]:{port}/x",
        "\\\\{elsewhere_host}\\x",
        "http:\\\\{elsewhere_host}/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://127.0.0.1:99999999/x",
        "http://[/",
    ],
)
@pytest.mark.parametrize("call", ["get", "create", "download"])
def test_an_origin_is_scheme_host_and_port_however_it_is_spelled(
    library: str, call: str, location: str, elsewhere: Script, tmp_path: Path
) -> None:
    def reply(method: str, path: str) -> Answer:
        if path == "/x" or len(service.seen) > 8:
            return Answer(500)
        values = {"host": service.url[7:], "port": service.url.rpartition(":")[2], "elsewhere_host": elsewhere.url[7:]}
        return Answer(307, b"", {"Location": location.format(elsewhere=elsewhere.url, **values)})

    with serving(reply) as service:
        with pytest.raises(ServiceError):
            CALLS[call](endpoint(service.url), tmp_path)

        assert not any(path == "/x" for _, path, _, _ in service.seen)
    assert elsewhere.seen == []


@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_within_the_origin_is_followed_by_a_get(library: str, status: int) -> None:
    job: dict[str, Any] = {"name": NAME, "metadata": {"name": NAME, "state": "BATCH_STATE_RUNNING"}}

    def reply(method: str, path: str) -> Answer:
        return Answer(body=job) if path.startswith("/moved") else Answer(status, b"", {"Location": f"/moved{path}"})

    with serving(reply) as service:
        CALLS["get"](endpoint(service.url), Path())

        assert service.seen[-1][2]["x-goog-api-key"] == KEY


def test_a_second_redirect_that_leaves_the_origin_is_not_followed(library: str, elsewhere: Script) -> None:
    def reply(method: str, path: str) -> Answer:
        place = f"{elsewhere.url}/x" if path.startswith("/moved") else f"/moved{path}"
        return Answer(308, b"", {"Location": place})

    with serving(reply) as service, pytest.raises(OutcomeUnknownError, match="redirect"):
        CALLS["get"](endpoint(service.url), Path())

    assert elsewhere.seen == []


@pytest.mark.parametrize("status", STATUSES)
def test_a_create_is_never_sent_a_second_time_by_a_redirect(library: str, status: int) -> None:
    with serving(lambda method, path: Answer(status, b"", {"Location": f"/moved{path}"})) as service:
        with pytest.raises(OutcomeUnknownError, match="redirect"):
            CALLS["create"](endpoint(service.url), Path())

        assert len(service.seen) == 1


@pytest.mark.parametrize("location", ["https://{key}.evil.example/?key={key}", "https://evil.example/{key}\x1b[2J"])
def test_the_place_that_a_redirect_names_is_shown_without_the_key(location: str) -> None:
    place = location.format(key=KEY).replace("\x1b", "%1b")
    with serving(lambda method, path: Answer(302, b"", {"Location": place})) as service, pytest.raises(ServiceError) as caught:
        CALLS["get"](endpoint(service.url), Path())

    assert "evil.example" in str(caught.value)
    assert KEY not in str(caught.value)
    assert KEY.lower() not in str(caught.value).lower()
