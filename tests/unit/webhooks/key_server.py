"""A key server on loopback that answers with what a test sets."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.unit.webhooks.signing import jwks


class KeyServer:
    """``requests`` counts the requests; ``body``, ``status`` and ``headers`` are the answer to the following ones."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = json.dumps(jwks()).encode()
        #: While it is clear, answers are held back.
        self.may_answer = threading.Event()
        self.may_answer.set()
        #: Set when a request has arrived.
        self.asked = threading.Event()
        #: Seconds between two bytes; None sends the body at once.
        self.drip: float | None = None
        #: Whether the status line drips too, and never ends.
        self.drips_headers = False
        self.stopping = threading.Event()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        self.asked.set()
        self.may_answer.wait(10)
        while self.drips_headers and not self.stopping.wait(0.02):
            handler.wfile.write(b"H")
        handler.send_response(self.status)
        for name, value in {"Content-Length": str(len(self.body)), **self.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if self.drip is None:
            handler.wfile.write(self.body)
            return
        for position in range(len(self.body)):
            handler.wfile.write(self.body[position : position + 1])
            if self.stopping.wait(self.drip):
                return


@contextlib.contextmanager
def key_server() -> Iterator[KeyServer]:
    keys = KeyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client gave up
                keys.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        keys.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
        try:
            yield keys
        finally:
            keys.stopping.set()
            keys.may_answer.set()
            server.shutdown()
            thread.join()
