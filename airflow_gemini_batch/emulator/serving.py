"""Serving the emulator: in a thread of this process, in a child process that can be killed, or in the foreground."""

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
from airflow_gemini_batch.emulator.options import ENVIRONMENT_PREFIX, Options
from airflow_gemini_batch.emulator.service import AnswerFunction

#: Longer than any client's pool keeps an idle connection. If the emulator closed it first, that would look like a fault.
_KEEP_ALIVE_SECONDS = 3600

_START_SECONDS = 30.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]

#: Beginning of the line that a child process prints when it listens; its URL follows.
READY = "The Gemini Batch API emulator listens on "


class _TransportProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """Passes its transport to the application in the scope's state, so that faults can close the connection."""

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
        """Requests the shutdown. Can be called from any thread."""
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
        for _ in range(3):  # a closed transport reports it in one of the event loop's next iterations
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            await self.lifespan.shutdown()


def server_for(state_dir: Path | str, options: Options, answers: AnswerFunction | None = None) -> _Server:
    """A server that has not been started. Raises StateUnusable if another emulator uses the folder."""
    config = uvicorn.Config(
        create_app(state_dir, options, answers),
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
    """A listening socket. Port 0 picks a free port."""
    return socket.create_server((host, port), backlog=2048)


def url_of(listener: socket.socket) -> str:
    """The URL for clients on this machine, also if the socket listens on all addresses."""
    host, port = listener.getsockname()[:2]
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104


class Emulator(Remote):
    """The emulator in a thread of this process. Use it as a context manager, or call `start` and `stop`.

        with Emulator(tmp_path, running_seconds=0) as emulator:
            client = genai.Client(api_key="any", http_options={"base_url": emulator.url})

    :param state_dir: folder for files, jobs and settings. Created if missing; a later emulator continues with it.
    :param port: TCP port. Default 0: a free port.
    :param host: address to listen on. Default: loopback only, because the emulator has no access control.
    :param answers: a function that answers in place of the emulator: from a GenerateContentRequest (a dict, as it was sent) to
        the text of the answer, or to a value that is written as JSON; None for the emulator's own answer. It is called in
        another thread, and a job fails in which it raises. Default: none. It is not kept in the state folder.
    :param options: the fields of `Options`, such as `running_seconds=0`.

    Attributes and methods are those of `Remote`: `url`, `faults`, `journal()`, `advance()` and so on. Raises StateUnusable if
    another emulator uses the folder, OSError if the port is in use, TypeError for an unknown option.
    """

    def __init__(
        self,
        state_dir: Path | str,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        answers: AnswerFunction | None = None,
        **options: Any,
    ) -> None:
        self._server = server_for(state_dir, Options(**options), answers)
        self._listener = listen(host, port)
        super().__init__(url_of(self._listener))
        self._thread = threading.Thread(target=self._serve, name="emulator", daemon=True)

    def start(self) -> Emulator:
        """Starts the thread and waits until the emulator answers. An emulator can be started once."""
        self._thread.start()
        self._wait_until_up(_START_SECONDS)
        return self

    def stop(self) -> None:
        """Stops the emulator. Its state stays in the folder."""
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
    """The emulator in a child process, for tests that kill it. Use it as a context manager, or call `start` and `stop`.

    Takes the same arguments as `Emulator`. `start` after `kill` or `stop` continues with the same state folder and port.
    `url` is empty before the first start.
    """

    def __init__(self, state_dir: Path | str, port: int = 0, host: str = "127.0.0.1", **options: Any) -> None:
        self._state_dir = Path(state_dir)
        self._host = host
        self._port = port
        self._options = Options(**options)
        self._child: subprocess.Popen[str] | None = None
        super().__init__("")

    def start(self) -> EmulatorProcess:
        """Starts the process and waits until it listens. Raises RuntimeError if it exits instead."""
        command = [sys.executable, "-m", "airflow_gemini_batch.emulator", "--host", self._host]
        command += ["--port", str(self._port), "--state", str(self._state_dir), *_flags(self._options)]
        # Everybody on the machine can read a process's arguments, so keys are in its environment.
        keys = {f"{ENVIRONMENT_PREFIX}KEYS": ",".join(self._options.keys)} if self._options.keys else {}
        # The child must import this same package, even if only the parent's sys.path leads to it.
        path = os.pathsep.join([str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **keys, "PYTHONPATH": path})
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line.startswith(READY):
            raise RuntimeError(f"the emulator did not start: exit code {self._child.wait()}, output {line!r}")
        self.url = line.removeprefix(READY).strip()
        self._port = int(self.url.rpartition(":")[2])
        return self

    def kill(self) -> None:
        """Ends the process with SIGKILL and waits for its end. Everything that was acknowledged is kept."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends the process with SIGTERM and waits for its end."""
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
    """The command-line flags for `options`, without the keys."""
    flags: list[str] = []
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name != "keys" and value != field.default:
            flags += [f"--{field.name.replace('_', '-')}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return flags
