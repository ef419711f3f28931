"""A real Airflow on this machine for a few minutes: all four processes, with their own home and database.

Two guarantees: the user's own Airflow is neither read nor changed, and no process is left running after ``stop``. Each process
leads a session, and everything that it starts is found by that session, including workers whose parent has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import httpx
import psutil

from airflow_gemini_batch.demo.rest import AirflowRest
from airflow_gemini_batch.demo.signals import STOP_SIGNALS

#: Every process that Airflow needs to run a DAG with deferrable tasks, by the name of its command.
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")

#: The components in Airflow's health report.
_COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")

#: Prefixes of the user's own settings and keys, which this Airflow must not inherit.
_USER_VARIABLES = ("AIRFLOW_", "_AIRFLOW_", "GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_", "GOOGLE_CLOUD_")

#: Seconds between two health checks. Each takes a few milliseconds.
_CHECK_SECONDS = 0.25


class LocalAirflowError(RuntimeError):
    """Airflow did not start, or one of its processes ended."""


class LocalAirflow:
    """
    with LocalAirflow(home, dags) as airflow:
        airflow.wait_until_healthy()
        run_id = airflow.rest.trigger("my_dag")

    :param home: a new or empty folder for the configuration, the database and the logs of all processes.
    :param dags: the folder with the DAG files.
    :param environment: variables for every process, such as connections and settings.
    """

    def __init__(self, home: Path, dags: Path, environment: Mapping[str, str] | None = None) -> None:
        self.home = home.resolve()
        port, *log_ports = _free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **_inherited_environment(),
            **_settings(self.home, dags.resolve(), self.url, port, log_ports),
            **(environment or {}),
        }
        self.rest = AirflowRest(self.url)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> LocalAirflow:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> LocalAirflow:
        """Create the database and start the processes; ``wait_until_healthy`` waits for them."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.start_process("migrate", "db", "migrate")
        code = self._processes["migrate"].wait()
        del self._processes["migrate"]
        if code:
            raise LocalAirflowError(f"Airflow could not create its database in {self.home}:\n{self.log_tail('migrate')}")
        for name in PROCESSES:
            self.start_process(name)
        return self

    def start_process(self, name: str, *command: str) -> None:
        """Start one of the processes. It may have run before and been killed.

        :param command: Airflow's command line; default: the process's name.
        """
        with self.log_file(name).open("ab") as log, _hold_signals():
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *(command or (name,))],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill_process(self, name: str) -> None:
        """Send SIGKILL to one of the processes and to all processes that it has started."""
        process = self._processes.pop(name)
        end_session(process.pid)
        process.wait()

    def terminate_process(self, name: str, timeout: float = 60.0) -> None:
        """Send SIGTERM to one of the processes, as a deployment does, and wait until it has ended.

        :param timeout: seconds, after which it and all that it has started are killed.
        """
        process = self._processes.pop(name)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        end_session(process.pid)
        process.wait()

    def stop(self) -> None:
        """Kill all processes at once. A graceful end is not needed, since their home is deleted anyway."""
        self.rest.close()
        for name in list(self._processes):
            self.kill_process(name)

    def wait_until_healthy(self, timeout: float = 180.0) -> None:
        """Wait until every component reports that it is healthy.

        :param timeout: seconds. Raises LocalAirflowError after it, or as soon as a process ends.
        """
        deadline = time.monotonic() + timeout
        while (unhealthy := self._unhealthy()) and time.monotonic() < deadline:
            self.check_processes()
            time.sleep(_CHECK_SECONDS)
        if unhealthy:
            tails = "\n".join(f"--- {name}\n{self.log_tail(name)}" for name in PROCESSES)
            raise LocalAirflowError(f"Airflow was not healthy after {timeout:.0f} s. Unhealthy: {', '.join(unhealthy)}.\n{tails}")

    def check_processes(self) -> None:
        """Raise LocalAirflowError, with the last lines of the log, if a process has ended by itself."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise LocalAirflowError(f"Airflow's {name} ended with exit code {process.returncode}:\n{self.log_tail(name)}")

    def log_file(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def log_tail(self, name: str, lines: int = 20) -> str:
        try:
            return "\n".join(self.log_file(name).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(not started)"

    def _unhealthy(self) -> list[str]:
        try:
            health = self.rest.health()
        except (httpx.HTTPError, RuntimeError):
            return ["api-server"]
        return [component for component in _COMPONENTS if health[component]["status"] != "healthy"]


@contextlib.contextmanager
def _hold_signals() -> Iterator[None]:
    """Deliver signals only when the block has ended.

    A signal that arrived after a process was started, but before it was recorded, would leave that process running.
    """
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield
        return
    held: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: held.append(number)) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for stop_signal, handler in handlers.items():
            signal.signal(stop_signal, signal.SIG_DFL if handler is None else handler)
        for number in held:
            signal.raise_signal(number)


def end_session(leader: int) -> None:
    """Send SIGKILL to every process of a session, until none is left: one of them may be starting another meanwhile."""
    while members := list(_session(leader)):
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        time.sleep(0.02)


def _session(leader: int) -> Iterator[int]:
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                yield pid


def _free_ports(count: int) -> list[int]:
    """Free ports, all different: each stays bound until the last one is found."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _inherited_environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(_USER_VARIABLES)}
    # Requests to loopback must not go through a proxy.
    loopback = ",".join(filter(None, [inherited.get("NO_PROXY") or inherited.get("no_proxy"), "127.0.0.1", "localhost"]))
    return {**inherited, "NO_PROXY": loopback, "no_proxy": loopback}


def _settings(home: Path, dags: Path, url: str, port: int, log_ports: list[int]) -> dict[str, str]:
    secret = os.urandom(32).hex()
    trigger_logs, worker_logs = log_ports
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY": secret,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secret,
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        # The server listens on loopback only, so every user of this machine may use it without a password.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONWARNINGS": "ignore",
    }
