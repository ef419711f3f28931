"""A webhook receiver that records what it gets and answers with the given status codes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class ReceivedWebhook:
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Listener:
    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[ReceivedWebhook] = []
        #: Status codes of the next answers, in order; then 204.
        self.answers: list[int] = []

    def wait_for(self, count: int, seconds: float = 10.0) -> list[ReceivedWebhook]:
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"received {len(self.received)} of {count} webhooks"
            time.sleep(0.01)
        return self.received


@contextmanager
def listening() -> Iterator[Listener]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = listener.answers.pop(0) if listener.answers else 204
            self.send_response(status)
            self.end_headers()
            listener.received.append(ReceivedWebhook({name.lower(): value for name, value in self.headers.items()}, body))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener = Listener(f"http://127.0.0.1:{server.server_address[1]}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
