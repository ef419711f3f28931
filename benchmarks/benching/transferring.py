"""Upload and download of one large file, beside google-genai.

A server in a process of its own takes and gives bytes as fast as the kernel can.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Work = Callable[[], object]

_MEBIBYTES = 1024
_MIB = 1 << 20
_RESOURCE = {"name": "files/batch-a", "sizeBytes": "0", "state": "ACTIVE"}


def make_content(path: Path) -> None:
    with path.open("wb") as file:
        line = b"x" * (_MIB - 1) + b"\n"
        for _ in range(_MEBIBYTES):
            file.write(line)


def google(folder: Path, what: str) -> Work:
    served = contextlib.ExitStack()
    url = served.enter_context(_server(folder / "content"))
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=url, api_version="v1beta"))

    def transfer() -> None:
        if what == "download":
            client.files.download(file="files/batch-a", destination=str(folder / "google"))
            return
        with open(folder / "content", "rb") as file:
            client.files.upload(file=file, config=types.UploadFileConfig(name="files/a", mime_type="jsonl"))

    return _served(served, transfer)


def ours(folder: Path, what: str) -> Work:
    served = contextlib.ExitStack()
    url = served.enter_context(_server(folder / "content"))
    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient

    client = served.enter_context(GeminiClient(Endpoint(api_key="k", base_url=url)))

    def transfer() -> None:
        if what == "download":
            client.download("files/batch-a", folder / "ours")
            return
        with open(folder / "content", "rb") as file:
            client.upload(file, name="files/a", display_name="n")

    return _served(served, transfer)


def _served(served: contextlib.ExitStack, transfer: Callable[[], Any]) -> Work:
    def work() -> None:
        with served:
            transfer()

    return work


@contextlib.contextmanager
def _server(content: Path) -> Iterator[str]:
    """Its URL; it gives ``content`` to whoever downloads."""
    listening = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listening, content), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        process.terminate()
        process.join()


def _serve(listening: socket.socket, content: Path) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_converse, args=(connection, content), daemon=True).start()


def _converse(connection: socket.socket, content: Path) -> None:
    """HTTP/1.1 as far as a transfer needs it."""
    waste = memoryview(bytearray(_MIB))
    port = connection.getsockname()[1]
    with connection, connection.makefile("rb") as incoming:
        while request := incoming.readline():
            headers = {}
            while (line := incoming.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                headers[name.strip().lower()] = value.strip()
            left = int(headers.get(b"content-length", b"0"))
            while left:
                left -= incoming.readinto(waste[: min(left, _MIB)])
            if b":download" in request:
                size = content.stat().st_size
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
                with content.open("rb") as file:
                    connection.sendfile(file)
                continue
            status = "final" if b"finalize" in headers.get(b"x-goog-upload-command", b"") else "active"
            body = json.dumps({"file": _RESOURCE} if status == "final" else {})
            url = f"http://127.0.0.1:{port}/upload/v1beta/files?upload_id=1"
            head = (
                f"HTTP/1.1 200 OK\r\nX-Goog-Upload-Status: {status}\r\nX-Goog-Upload-URL: {url}\r\nContent-Type: application/json"
            )
            connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
