"""A loopback HTTP server that answers from a script: for bodies and broken connections that a test wants word for word."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """What to send; ``body`` None drops the connection without an answer, ``cut`` after so many bytes of the body."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class Script:
    """``reply`` decides; ``seen`` keeps (method, path, headers, body) of every request."""

    reply: Callable[[str, str], Answer]
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def count(self, method: str) -> int:
        return sum(seen[0] == method for seen in self.seen)


@contextmanager
def serving(reply: Callable[[str, str], Answer]) -> Iterator[Script]:
    script = Script(reply)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = script.reply(self.command, self.path)
            if answer.body is None:
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: answer.cut])
            self.close_connection |= answer.cut is not None

        do_GET = do_POST = do_DELETE = do_PATCH = _any

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
