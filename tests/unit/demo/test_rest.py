"""The demo's client of Airflow's REST API, against a server that fails as Airflow does when its database is locked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_gemini_batch.demo.rest import AirflowRest


class _LockedOnce(BaseHTTPRequestHandler):
    """Starts the run that it is asked for, but answers 500; says of the next attempt that this run is there."""

    started: list[str]

    def do_POST(self) -> None:
        run_id = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["dag_run_id"]
        there = run_id in self.started
        self.started.append(run_id)
        self.send_response(409 if there else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def locked() -> Iterator[ThreadingHTTPServer]:
    _LockedOnce.started = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _LockedOnce)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_run_that_a_failed_answer_hid_is_not_started_again(locked: ThreadingHTTPServer) -> None:
    rest = AirflowRest(f"http://127.0.0.1:{locked.server_port}")

    run_id = rest.trigger("any")

    assert _LockedOnce.started == [run_id, run_id]
    rest.close()
