"""A webhook reports the end of a job: the real API server receives it, the real triggerer resumes the task and starts a DAG."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_gemini_batch.demo.local_airflow import LocalAirflow
from airflow_gemini_batch.demo.rest import FINAL_STATES, wait_for
from airflow_gemini_batch.emulator import EmulatorProcess
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.gemini.webhooks import Webhooks

#: This module starts its own Airflow, whose connection is in the metadata database.
pytestmark = pytest.mark.timeout(600)

CONNECTION = "gemini_webhooks"
KEY = "AIzaCanaryOfTheWebhooks-0123456789abcdef"

DAGS = f"""
import pyarrow as pa
from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_gemini_batch import GeminiBatchEventTrigger, GeminiBatchOperator, GenerateRequest

ended = Asset(
    "gemini-batches",
    watchers=[AssetWatcher(name="ended", trigger=GeminiBatchEventTrigger(gemini_conn_id="{CONNECTION}", poll_interval=1.0))],
)

with DAG("waits", schedule=None, params={{"folder": "/nowhere"}}):
    GeminiBatchOperator(
        task_id="describe",
        source=pa.table({{"id": ["a", "b"], "body": ["one", "two"]}}),
        request=GenerateRequest(prompt="Repeat: ${{body}}"),
        model="gemini-2.5-flash",
        destination="{{{{ params.folder }}}}",
        key="id",
        gemini_conn_id="{CONNECTION}",
        options={{"poll_interval": 3600}},
    )

with DAG("triggered", schedule=[ended]):

    @task
    def show(triggering_asset_events=None):
        return [event.extra["payload"]["job"] for event in triggering_asset_events[ended]]

    show()
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("service"), pending_seconds=1, running_seconds=3600) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def airflow(service: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    folder = tmp_path_factory.mktemp("webhooks")
    (folder / "dags").mkdir()
    settings = {
        "AIRFLOW__GEMINI_BATCH__WEBHOOK_CONNECTIONS": CONNECTION,
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",  # seconds, so that a new DAG file is found quickly
    }
    with LocalAirflow(folder / "airflow", folder / "dags", settings) as airflow:
        airflow.wait_until_healthy()
        webhook = Webhooks(Endpoint(api_key=KEY, base_url=service.url)).create(address_of(airflow), name="airflow")
        extra = {"webhook_signing_secret": webhook.secret, "webhook_folder": str(folder / "notifications")}
        connection = {"connection_id": CONNECTION, "conn_type": "gemini", "host": service.url, "password": KEY}
        airflow.rest.call("POST", "/connections", json={**connection, "extra": json.dumps(extra)})
        # Written last, because the watcher starts as soon as the DAG is read.
        (folder / "dags" / "webhook_dags.py").write_text(DAGS)
        for dag_id in ("waits", "triggered"):
            airflow.rest.wait_for_dag(dag_id)
        yield airflow


@pytest.fixture(scope="module")
def observed(airflow: LocalAirflow, service: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both DAGs have run: state and duration of the first, the requests that it made, and the run of the second."""
    run_id = airflow.rest.trigger("waits", {"folder": str(tmp_path_factory.mktemp("tables") / "run")})
    wait_for(lambda: airflow.rest.task_instances("waits", run_id)[0]["state"] == "deferred", "the task to be deferred", 120)
    before = job_requests(service)
    service.advance(3700)
    started = time.monotonic()
    wait_for(lambda: airflow.rest.run("waits", run_id)["state"] in FINAL_STATES, "the waiting DAG to end", 120)
    seconds = time.monotonic() - started

    def ended_runs() -> list[dict[str, Any]]:
        runs = airflow.rest.call("GET", "/dags/triggered/dagRuns")["dag_runs"]
        return [run for run in runs if run["state"] in FINAL_STATES]

    [run] = wait_for(ended_runs, "the DAG that is scheduled on the asset to end", 120)
    state = airflow.rest.run("waits", run_id)["state"]
    return {"state": state, "seconds": seconds, "job_requests": job_requests(service) - before, "run": run}


def address_of(airflow: LocalAirflow) -> str:
    return f"{airflow.url}/gemini-batch/webhooks/{CONNECTION}"


def job_requests(service: EmulatorProcess) -> Counter[str]:
    calls = [call for call in service.calls() if call["method"] == "GET" and call["route"].startswith("/v1beta/batches")]
    return Counter({call["route"]: call["count"] for call in calls})


def test_the_waiting_task_is_resumed(observed: dict[str, Any], service: EmulatorProcess) -> None:
    assert observed["state"] == "success"
    # Without the notification, the next check would come after an hour; with webhooks, after ten hours.
    assert observed["seconds"] < 60
    assert [(delivery["state"], delivery["answered"]) for delivery in service.deliveries()] == [("delivered", "204")]


def test_the_dag_that_is_scheduled_on_the_asset_receives_the_job(observed: dict[str, Any], airflow: LocalAirflow) -> None:
    [job] = airflow.rest.xcom("triggered", observed["run"]["dag_run_id"], "show")

    assert observed["run"]["state"] == "success"
    assert job.startswith("batches/")


def test_requests_that_are_not_from_the_service_are_refused(airflow: LocalAirflow) -> None:
    with httpx.Client(trust_env=False) as http:
        answers = [
            http.post(address_of(airflow), content=b'{"type": "batch.succeeded", "data": {"id": "batches/a"}}'),
            http.post(f"{airflow.url}/gemini-batch/webhooks/gemini_default"),
            http.get(f"{airflow.url}/gemini-batch/webhooks/openapi.json"),
        ]

    assert [answer.status_code for answer in answers] == [401, 404, 405]


def test_the_secret_and_the_key_are_not_in_any_log(observed: dict[str, Any], airflow: LocalAirflow) -> None:
    files = [path for path in Path(airflow.home).rglob("*.log") if path.is_file()]
    texts = "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)

    assert files
    assert "has ended (succeeded), according to a webhook" in texts
    assert "whsec_" not in texts
    assert KEY not in texts
