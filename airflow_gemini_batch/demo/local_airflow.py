"""A real Airflow on this machine for a few minutes: all four processes, a database and a home of its own.

Two things must stay true: nothing of the user's own Airflow is read or touched, and no process outlives ``stop``. Each
process leads a session; whatever it starts, workers that outlived their parent included, is found by that session.
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

#: Every process Airflow needs to run a DAG with deferrable tasks, by the name of its command.
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")

#: The parts that its health report names.
_HEALTH = ("metadatabase", "scheduler", "dag_processor", "triggerer")

#: Settings and keys of the user that must not reach in.
_FOREIGN = ("AIRFLOW_", "_AIRFLOW_", "GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_", "GOOGLE_CLOUD_")

#: Between two looks at whether something has come up. Each look costs some milliseconds.
_LOOK_EVERY = 0.25

#: By these a user, a terminal that is closed or a supervisor ends a program.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LocalAirflowError(RuntimeError):
    """Airflow did not come up, or one of its processes ended."""


class LocalAirflow:
    """
    with LocalAirflow(home, dags) as airflow:
        airflow.wait_until_healthy()
        run_id = airflow.rest.trigger("my_dag")

    :param home: an empty or absent folder, for the configuration, the database and the logs of all processes.
    :param dags: the folder with the DAG files.
    :param environment: added to that of every process, for connections and settings.
    """

    def __init__(self, home: Path, dags: Path, environment: Mapping[str, str] | None = None) -> None:
        self.home = home.resolve()
        port, *log_ports = _free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **_own_environment(),
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
        """Make the database and start the processes; ``wait_until_healthy`` waits for them."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.start_process("migrate", "db", "migrate")
        code = self._processes["migrate"].wait()
        del self._processes["migrate"]
        if code:
            raise LocalAirflowError(f"Airflow could not make its database in {self.home}:\n{self.log_tail('migrate')}")
        for name in PROCESSES:
            self.start_process(name)
        return self

    def start_process(self, name: str, *command: str) -> None:
        """Start one of the processes, again if it has been killed."""
        with self.log_file(name).open("ab") as log, _uninterrupted():
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
        """SIGKILL for one of the processes and all that it has started."""
        process = self._processes.pop(name)
        end_session(process.pid)
        process.wait()

    def stop(self) -> None:
        """End everything at once: what these processes could still put in order is thrown away with their home."""
        self.rest.close()
        for name in list(self._processes):
            self.kill_process(name)

    def wait_until_healthy(self, timeout: float = 180.0) -> None:
        """Until every process reports that it works. Raises LocalAirflowError when one ends or the time is up."""
        deadline = time.monotonic() + timeout
        while (ill := self._ill()) and time.monotonic() < deadline:
            self.check_processes()
            time.sleep(_LOOK_EVERY)
        if ill:
            tails = "\n".join(f"--- {name}\n{self.log_tail(name)}" for name in PROCESSES)
            raise LocalAirflowError(f"Airflow was not up after {timeout:.0f} s; not healthy: {', '.join(ill)}.\n{tails}")

    def check_processes(self) -> None:
        """Raises LocalAirflowError when a process has ended by itself."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise LocalAirflowError(f"Airflow's {name} ended with exit code {process.returncode}:\n{self.log_tail(name)}")

    def log_file(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def log_tail(self, name: str, lines: int = 20) -> str:
        try:
            return "\n".join(self.log_file(name).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(it has not been started)"

    def _ill(self) -> list[str]:
        try:
            health = self.rest.health()
        except (httpx.HTTPError, RuntimeError):
            return ["api-server"]
        return [
            part for part in ("metadatabase", "scheduler", "dag_processor", "triggerer") if health[part]["status"] != "healthy"
        ]


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A signal waits until the block has ended: between a process and the note that it runs, it would leave one behind."""
    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread only
        yield
        return
    held: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: held.append(number)) for number in _ENDING}
    try:
        yield
    finally:
        for ending, handler in handlers.items():
            signal.signal(ending, signal.SIG_DFL if handler is None else handler)
        for number in held:
            signal.raise_signal(number)


def end_session(leader: int) -> None:
    """SIGKILL for every process of a session. Repeated, because one of them may be starting another meanwhile."""
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
    """Different ports, since all are held until the last is found."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _own_environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    # Loopback is never behind a proxy.
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
        # It listens on loopback only, so whoever can open the page may use it without a password.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONWARNINGS": "ignore",
    }
