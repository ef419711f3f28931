"""A hostile service, or a proxy in its place: endless listings, bodies that drip, texts that act on a terminal."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import OutcomeUnknownError, ServiceError
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.job_fetching import Fetched, fetch_jobs
from airflow_gemini_batch.engine.gemini.webhooks import Webhooks
from tests.integration.engine.scripted_server import Answer, serving
from tests.integration.engine.test_client import CANARY, FAILED, NAME, client

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


@pytest.mark.parametrize("call", ["get", "create", "list", "download", "delete"])
def test_a_body_that_drips_is_cut_off(call: str, tmp_path: Path) -> None:
    class Drip(http.server.BaseHTTPRequestHandler):
        def _any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:  # until the client hangs up
                    self.wfile.write(b" ")
                    time.sleep(0.02)

        do_GET = do_POST = do_DELETE = _any

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Drip) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        endpoint = Endpoint(api_key=CANARY, base_url=f"http://127.0.0.1:{server.server_port}", request_timeout=0.1)
        calls: dict[str, Callable[[GeminiClient], object]] = {
            "get": lambda gemini: gemini.get_job(NAME),
            "create": lambda gemini: gemini.create_job(model="m", input_file="files/x", display_name="n"),
            "list": lambda gemini: list(gemini.list_jobs()),
            "download": lambda gemini: gemini.download("files/batch-x", tmp_path / "out"),
            "delete": lambda gemini: gemini.delete_job(NAME),
        }
        with GeminiClient(endpoint) as gemini, pytest.raises(OutcomeUnknownError, match="too slowly"):
            calls[call](gemini)
        server.shutdown()


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
