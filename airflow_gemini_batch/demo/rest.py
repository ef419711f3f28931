"""The little that is needed of Airflow's REST API: start a DAG run and see how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

Json = dict[str, Any]
T = TypeVar("T")

#: States that a DAG run does not leave by itself.
ENDED = ("success", "failed")

_LOOK_EVERY = 0.5

#: SQLite under several processes is locked now and then, which Airflow tells as 500.
_TRIES_OF_GET = 5


class AirflowRest:
    """An Airflow whose users are all admins.

    :param url: of the API server.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v2", timeout=30.0, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def health(self) -> Json:
        return self.call("GET", "/monitor/health")

    def wait_for_dag(self, dag_id: str, timeout: float = 90.0) -> None:
        """Until the DAG processor has read the DAG. Raises TimeoutError with what it could not import."""
        try:
            wait_for(lambda: self._http.get(f"/dags/{dag_id}").is_success, f"Airflow to read the DAG {dag_id!r}", timeout)
        except TimeoutError as error:
            broken = self.call("GET", "/importErrors")["import_errors"]
            raise TimeoutError("\n".join([f"{error}.", *(each["stack_trace"] for each in broken)])) from None

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a DAG run; returns its id. A new DAG may be known for a moment before it can be run."""

        def started() -> str | None:
            answer = self._http.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf or {})})
            return None if answer.status_code == httpx.codes.NOT_FOUND else str(_checked(answer)["dag_run_id"])

        return wait_for(started, f"a run of the DAG {dag_id!r} to start", timeout=30.0)

    def run(self, dag_id: str, run_id: str) -> Json:
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        answer = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 200})
        return list(answer["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task has returned."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path, params={"deserialize": True})["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> str:
        """A try's log, one event a line."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return "\n".join(_line(event) for event in content)

    def call(self, method: str, path: str, **kwargs: Any) -> Json:
        """Any call, below ``/api/v2``. Raises RuntimeError with Airflow's answer when it is an error."""
        answer = self._http.request(method, path, **kwargs)
        for _ in range(_TRIES_OF_GET if method == "GET" else 0):
            if not answer.is_server_error:
                break
            time.sleep(_LOOK_EVERY)
            answer = self._http.request(method, path, **kwargs)
        return _checked(answer)


def wait_for(look: Callable[[], T | None], what: str, timeout: float) -> T:
    """Look until there is something to see. Raises TimeoutError that says what was waited for."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {timeout:.0f} s in vain for {what}")
        time.sleep(_LOOK_EVERY)
    return seen


def _checked(answer: httpx.Response) -> Json:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
    return dict(answer.json())


def _line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    parts = [str(event.get(name) or "") for name in ("timestamp", "level", "event", "error_detail")]
    return " ".join(filter(None, parts))
