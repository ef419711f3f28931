"""The part of Airflow's REST API that the demo and the end-to-end tests need: start a DAG run and read its state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TypeVar

import httpx

Json = dict[str, Any]
T = TypeVar("T")

#: States that a DAG run does not leave by itself.
FINAL_STATES = ("success", "failed")

#: Seconds between two checks.
_CHECK_SECONDS = 0.5

#: Several processes share one SQLite file. It is locked now and then, and Airflow then answers 500.
_RETRIES = 5


class AirflowRest:
    """A client for an Airflow that needs no login.

    :param url: of the API server, without ``/api/v2``.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v2", timeout=30.0, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def health(self) -> Json:
        return self.call("GET", "/monitor/health")

    def wait_for_dag(self, dag_id: str, timeout: float = 90.0) -> None:
        """Wait until the DAG processor has read the DAG.

        :param timeout: seconds. Raises TimeoutError after it, with the import errors of all DAG files.
        """
        try:
            wait_for(lambda: self._http.get(f"/dags/{dag_id}").is_success, f"Airflow to read the DAG {dag_id!r}", timeout)
        except TimeoutError as error:
            broken = self.call("GET", "/importErrors")["import_errors"]
            raise TimeoutError("\n".join([f"{error}.", *(each["stack_trace"] for each in broken)])) from None

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a DAG run and return its id.

        Retried while the DAG, which was perhaps just read, is answered with 404, and while the database is locked. The id is
        chosen here, so that an attempt which was answered with an error and yet started the run is not followed by a second run.
        """
        run_id = f"manual__{datetime.now(timezone.utc).isoformat()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}

        def started() -> bool:
            answer = self._http.post(f"/dags/{dag_id}/dagRuns", json=body)
            if answer.status_code == httpx.codes.NOT_FOUND or answer.is_server_error:
                return False
            if answer.status_code != httpx.codes.CONFLICT:
                _checked(answer)
            return True

        wait_for(started, f"a run of the DAG {dag_id!r} to start", timeout=30.0)
        return run_id

    def run(self, dag_id: str, run_id: str) -> Json:
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        answer = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 200})
        return list(answer["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """The return value of a task."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path, params={"deserialize": True})["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> str:
        """The log of one try of a task, one event on each line."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return "\n".join(_line(event) for event in content)

    def call(self, method: str, path: str, **kwargs: Any) -> Json:
        """Call any path below ``/api/v2``. Raises RuntimeError with Airflow's answer if it is an error.

        GET and PATCH, which can be repeated, are retried when the server fails.
        """
        answer = self._http.request(method, path, **kwargs)
        for _ in range(_RETRIES if method in ("GET", "PATCH") else 0):
            if not answer.is_server_error:
                break
            time.sleep(_CHECK_SECONDS)
            answer = self._http.request(method, path, **kwargs)
        return _checked(answer)


def wait_for(check: Callable[[], T | None], what: str, timeout: float) -> T:
    """Call ``check`` until it returns something true, and return that.

    :param what: what is waited for, as the TimeoutError names it.
    :param timeout: seconds.
    """
    deadline = time.monotonic() + timeout
    while not (found := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {timeout:.0f} s for {what}, which did not happen")
        time.sleep(_CHECK_SECONDS)
    return found


def _checked(answer: httpx.Response) -> Json:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
    return dict(answer.json() or {}) if answer.content else {}


def _line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    parts = [str(event.get(name) or "") for name in ("timestamp", "level", "event", "error_detail")]
    return " ".join(filter(None, parts))
