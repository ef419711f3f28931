"""A hostile service, or a proxy in its place: endless listings, bodies that drip, texts that act on a terminal."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import OutcomeUnknownError, ServiceError
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.job_fetching import Fetched, fetch_jobs
from airflow_gemini_batch.engine.gemini.retries import Retries
from airflow_gemini_batch.engine.gemini.webhooks import Webhooks
from tests.integration.engine.scripted_server import Answer, serving
from tests.integration.engine.test_client import CANARY, FAILED, NAME, client
from tests.integration.engine.test_redirects import LIBRARIES

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("cycle", [1, 2, 3, 7])
@pytest.mark.parametrize("listing", ["jobs", "files", "fetch", "webhooks"])
def test_page_tokens_that_come_again_after_others_end_the_listing(listing: str, cycle: int) -> None:
    def reply(method: str, path: str) -> Answer:
        token = f"t{len(script.seen) % cycle}"
        return Answer(body={"nextPageToken": token, "next_page_token": token})

    with serving(reply) as script, client(script.url) as gemini:
        names = [f"batches/{number}" for number in range(50)]
        lists: dict[str, Callable[[], object]] = {
            "jobs": lambda: list(gemini.list_jobs()),
            "files": lambda: list(gemini.list_files()),
            "fetch": lambda: raise_first(fetch_jobs(gemini, names)),
            "webhooks": lambda: Webhooks(gemini.endpoint).list(),
        }
        with pytest.raises(OutcomeUnknownError, match="does not end"):
            lists[listing]()

        assert len(script.seen) == cycle + 1


def raise_first(fetched: dict[str, Fetched]) -> None:
    raise next(answer for answer in fetched.values() if isinstance(answer, ServiceError))


CALLS: dict[str, Callable[[GeminiClient, Path], object]] = {
    "get": lambda gemini, folder: gemini.get_job(NAME),
    "create": lambda gemini, folder: gemini.create_job(model="m", input_file="files/x", display_name="n"),
    "list": lambda gemini, folder: list(gemini.list_jobs()),
    "download": lambda gemini, folder: gemini.download("files/batch-x", folder / "out"),
    "delete": lambda gemini, folder: gemini.delete_job(NAME),
}

#: What a server sends before it drips, and what it then sends again and again.
DRIPS = {
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "status": (b"HTTP/1.1 ", b"2"),
    "header": (b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-Drip: x\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@contextlib.contextmanager
def dripping(begin: bytes, drop: bytes, good: int = 0) -> Iterator[str]:
    """A server that never ends an answer. The first ``good`` requests of a connection are answered."""

    class Drip(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        answered = 0

        def _any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.answered < good:
                self.answered += 1
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                return
            with contextlib.suppress(OSError):
                self.wfile.write(begin)
                while True:  # until the client hangs up
                    self.wfile.write(drop)
                    time.sleep(0.02)

        do_GET = do_POST = do_DELETE = _any

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Drip) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("drip", DRIPS)
@pytest.mark.parametrize("call", CALLS)
def test_an_answer_that_drips_is_cut_off(
    call: str, drip: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", library)
    monkeypatch.setattr("airflow_gemini_batch.engine.gemini.client.RETRIES", Retries(attempts=1))
    with (
        dripping(*DRIPS[drip]) as url,
        GeminiClient(Endpoint(api_key=CANARY, base_url=url, request_timeout=0.05)) as gemini,
        pytest.raises(OutcomeUnknownError, match=r"too slowly|Timeout"),
    ):
        CALLS[call](gemini, tmp_path)


def test_headers_that_drip_are_cut_off_on_a_connection_that_is_used_again() -> None:
    with (
        dripping(*DRIPS["header"], good=2) as url,
        GeminiClient(Endpoint(api_key=CANARY, base_url=url, request_timeout=0.1)) as gemini,
    ):
        gemini.delete_job(NAME)
        gemini.cancel_job(NAME)
        with pytest.raises(OutcomeUnknownError, match="its headers have not ended"):
            gemini.cancel_job(NAME)


NASTY = f"a{CANARY}b\x1b[2J\x07\r\nINFO forged\u202e\u2066\u200f\u2028\x85\x9b\ufeff {CANARY.lower()}"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 499, 500, 503])
@pytest.mark.parametrize("body", ["json", "html", "status"])
def test_what_the_service_says_is_shown_without_the_key_and_without_control_characters(status: int, body: str) -> None:
    bodies: dict[str, Any] = {
        "json": {"error": {"code": status, "message": NASTY, "status": "INTERNAL"}},
        "html": NASTY.encode(),
        "status": {"error": {"code": status, "message": "m", "status": NASTY}},
    }
    with (
        serving(lambda method, path: Answer(status, bodies[body])) as script,
        client(script.url) as gemini,
        pytest.raises(ServiceError) as caught,
    ):
        gemini.create_job(model="m", input_file="files/x", display_name="n")

    text = str(caught.value)
    assert text.isprintable()
    assert CANARY.lower() not in (text + caught.value.status).lower()


def test_a_job_s_own_error_is_shown_without_the_key_and_without_control_characters() -> None:
    failed = {**FAILED, "error": {"code": 13, "message": NASTY}}
    with serving(lambda method, path: Answer(body=failed)) as script, client(script.url) as gemini:
        job = gemini.get_job(NAME)

    assert str(job).isprintable()
    assert CANARY.lower() not in repr(job).lower()


def test_a_key_that_an_output_echoes_is_not_kept_and_the_size_stays(tmp_path: Path) -> None:
    content = f'{{"key":"a","error":{{"message":"{CANARY} {CANARY}"}}}}\n'.encode()
    with serving(lambda method, path: Answer(body=content)) as script, client(script.url) as gemini:
        gemini.download("files/batch-x", tmp_path / "out")

    kept = (tmp_path / "out").read_bytes()
    assert CANARY.encode() not in kept
    assert len(kept) == len(content)
    json.loads(kept)
