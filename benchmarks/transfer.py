"""Upload and download of one large file, beside google-genai: time and memory.

    python benchmarks/transfer.py [--mebibytes 1024] [--rounds 3]

A server in a process of its own takes and gives bytes as fast as the kernel can. Each transfer runs in a fresh process;
google-genai and this package take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_MIB = 1 << 20
_RESOURCE = {"name": "files/batch-a", "sizeBytes": "0", "state": "ACTIVE"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transfer", nargs=4, help=argparse.SUPPRESS)  # who, what, url, path: one measurement, in a process
    arguments = parser.parse_args()
    if arguments.transfer:
        _measure(*arguments.transfer)
        return
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder), arguments.mebibytes) as (url, content):
        for what in ("upload", "download"):
            seconds: dict[str, list[float]] = {"google-genai": [], "ours": []}
            memory: dict[str, list[float]] = {"google-genai": [], "ours": []}
            for _ in range(arguments.rounds):
                for who in seconds:
                    path = content if what == "upload" else Path(folder, "out")
                    found = _in_a_process(who, what, url, path)
                    seconds[who].append(found["seconds"])
                    memory[who].append(found["kib"])
                    if what == "download":
                        assert path.stat().st_size == arguments.mebibytes * _MIB
            theirs, ours = (statistics.median(seconds[who]) for who in ("google-genai", "ours"))
            print(
                f"{what:9} {arguments.mebibytes:,} MiB: "
                f"google-genai {theirs:.2f} s, ours {ours:.2f} s, ratio {theirs / ours:.2f}; "
                f"memory over imports {max(memory['google-genai']) / 1024:.0f} MB, {max(memory['ours']) / 1024:.0f} MB"
            )


def _in_a_process(who: str, what: str, url: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--transfer", who, what, url, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]


def _measure(who: str, what: str, url: str, path: str) -> None:
    from google import genai
    from google.genai import types

    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient

    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(GeminiClient(Endpoint(api_key="k", base_url=url)))
        theirs = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=url, api_version="v1beta"))
        before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        if what == "upload":
            with open(path, "rb") as file:
                if who == "ours":
                    ours.upload(file, name="files/a", display_name="n")
                else:
                    theirs.files.upload(file=file, config=types.UploadFileConfig(name="files/a", mime_type="jsonl"))
        elif who == "ours":
            ours.download("files/batch-a", Path(path))
        else:
            theirs.files.download(file="files/batch-a", destination=path)
        seconds = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "kib": after - before}))


@contextlib.contextmanager
def _server(folder: Path, mebibytes: int) -> Iterator[tuple[str, Path]]:
    """Its URL, and the file that it gives to whoever downloads."""
    content = folder / "content"
    with content.open("wb") as file:
        line = b"x" * (_MIB - 1) + b"\n"
        for _ in range(mebibytes):
            file.write(line)
    listening = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listening, content), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", content
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


if __name__ == "__main__":
    os.environ.pop("HTTP_PROXY", None)
    main()
