"""Serving the emulator: inside this process for tests, as a child process that can be killed, or in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from airflow_gemini_batch.emulator.app import create_app
from airflow_gemini_batch.emulator.control.remote import Remote
from airflow_gemini_batch.emulator.options import Options

#: Longer than any caller's pool keeps a connection: closing an idle one first would look like a fault.
_KEEP_ALIVE_SECONDS = 3600

_START_SECONDS = 30.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]

#: The line by which a child tells that it listens, and where.
READY = "The Gemini Batch API emulator listens on "


class _TransportProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """Hands its transport to the application (in the scope's state), so that a connection can be dropped."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """A server that stops within a millisecond when nothing is being served.

    uvicorn checks ten times a second whether to stop and then waits a tenth of a second for its connections to close.
    Test suites start and stop hundreds of emulators.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Ask for the end, from any thread."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % 864_000
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for _ in range(3):  # a transport that was closed reports it in one of the loop's next rounds
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            await self.lifespan.shutdown()


def server_for(state_dir: Path | str, options: Options) -> _Server:
    config = uvicorn.Config(
        create_app(state_dir, options),
        http=_TransportProtocol,
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    return _Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one."""
    return socket.create_server((host, port), backlog=2048)


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


class Emulator(Remote):
    """The emulator in a thread of this process.

    with Emulator(tmp_path, running_seconds=0) as emulator:
        client = genai.Client(api_key="any", http_options={"base_url": emulator.url})
    """

    def __init__(self, state_dir: Path | str, port: int = 0, host: str = "127.0.0.1", **options: Any) -> None:
        self._server = server_for(state_dir, Options(**options))
        self._listener = listen(host, port)
        super().__init__(url_of(self._listener))
        self._thread = threading.Thread(target=self._serve, name="emulator", daemon=True)

    def start(self) -> Emulator:
        self._thread.start()
        self._wait_until_up(_START_SECONDS)
        return self

    def stop(self) -> None:
        self._server.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._listener])

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class EmulatorProcess(Remote):
    """The emulator as a child process. `kill` is SIGKILL; `start` after it goes on with the same state and port."""

    def __init__(self, state_dir: Path | str, port: int = 0, host: str = "127.0.0.1", **options: Any) -> None:
        self._state_dir = Path(state_dir)
        self._host = host
        self._port = port
        self._options = Options(**options)
        self._child: subprocess.Popen[str] | None = None
        super().__init__("")

    def start(self) -> EmulatorProcess:
        command = [sys.executable, "-m", "airflow_gemini_batch.emulator", "--host", self._host]
        command += ["--port", str(self._port), "--state", str(self._state_dir), *_flags(self._options)]
        # The child finds this very package, also where the parent has it by its own path alone.
        path = os.pathsep.join([str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line.startswith(READY):
            raise RuntimeError(f"the emulator did not start: exit code {self._child.wait()}, it said {line!r}")
        self.url = line.removeprefix(READY).strip()
        self._port = int(self.url.rpartition(":")[2])
        return self

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait()
            assert self._child.stdout is not None
            self._child.stdout.close()
            self._child = None

    def __enter__(self) -> EmulatorProcess:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _flags(options: Options) -> list[str]:
    """The command line that makes the same options."""
    flags: list[str] = []
    for field in fields(options):
        value = getattr(options, field.name)
        if value != field.default:
            for one in value if isinstance(value, tuple) else (value,):
                flags += [f"--{field.name.replace('_', '-')}".replace("--keys", "--key"), str(one)]
    return flags
