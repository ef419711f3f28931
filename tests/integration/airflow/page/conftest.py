"""The page inside Airflow's own API server, in this process, over runs that real DAG runs have made on the emulator."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from airflow_gemini_batch.emulator import Emulator, RowFault
from tests.integration.airflow.conftest import KEY
from tests.integration.airflow.page.auth_manager import STRANGER

PAGE = "/gemini-batch/page"

#: What must never become markup, script or a link, wherever a row, a label or an error says it.
EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)>"\'><a href="javascript:alert(3)">x</a>'

DAGS = """
import pyarrow as pa
from airflow.sdk import DAG, task
from airflow_gemini_batch import GeminiBatchOperator, GenerateRequest

def asked(labels):
    return dict(
        task_id="describe",
        source=pa.table({"id": [f"k{n}" for n in range(12)], "body": [EVIL + str(n) for n in range(12)]}),
        request=GenerateRequest(prompt=EVIL + " ${body}", config={"system_instruction": EVIL, "temperature": 0.5}),
        model="gemini-3.6-flash",
        key="id",
        carry=["body"],
        labels=labels,
        options={"max_shard_requests": 5, "poll_interval": 0.1, "max_redrives": 0},
    )

with DAG("ours", schedule=None) as ours:
    GeminiBatchOperator(destination=FOLDER + "/ours", **asked({"team": "search", "note": EVIL}))

with DAG("theirs", schedule=None) as theirs:
    GeminiBatchOperator(destination=FOLDER + "/theirs", **asked({"team": "ads"}))

with DAG("mapped", schedule=None) as mapped:
    GeminiBatchOperator.partial(**asked({"team": "search"})).expand(destination=[FOLDER + "/mapped-0", FOLDER + "/mapped-1"])

with DAG("spy", schedule=None) as spy:
    @task
    def point(folder, ti=None):
        ti.xcom_push(key="gemini_batch_run", value=folder)

    point(FOLDER + "/theirs")

with DAG("nothing", schedule=None) as nothing:
    @task
    def idle():
        pass

    idle()
"""


@dataclass
class World:
    """:param runs: the id of each DAG's DAG run."""

    api: TestClient
    runs: dict[str, str]
    folder: Path
    tokens: dict[str, str]

    def get(self, path: str, user: str | None = "reader", **query: str) -> httpx.Response:
        """
        :param path: below the page's prefix.
        :param user: ``reader`` may see all DAGs, ``stranger`` not ``theirs``; None is anonymous.
        """
        headers = {"Authorization": f"Bearer {self.tokens[user]}"} if user else {}
        answer: httpx.Response = self.api.get(f"{PAGE}/{path}", params=query, headers=headers)
        return answer

    def run(self, path: str, dag_id: str, user: str | None = "reader", **query: str) -> httpx.Response:
        return self.get(path, user, dag_id=dag_id, run_id=self.runs[dag_id], **query)


@pytest.fixture(scope="package")
def world(airflow_db: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch, Emulator(folder / "service", pending_seconds=0, running_seconds=0) as emulator:
        connection = {"conn_type": "gemini", "password": KEY, "host": emulator.url}
        patch.setenv("AIRFLOW_CONN_GEMINI_DEFAULT", json.dumps(connection))
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "0123456789abcdef" * 4)
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.integration.airflow.page.auth_manager.TeamAuthManager")
        emulator.faults.add(RowFault(do="error", code=3, message=EVIL, keys=("k1", "k7")))
        runs = _run_dags(folder)
        api, tokens = _api()
        with api:
            yield World(api, runs, folder, tokens)


def _run_dags(folder: Path) -> dict[str, str]:
    from airflow.configuration import conf

    file = Path(conf.get("core", "dags_folder")) / "page_of_the_tests.py"
    file.write_text(f"FOLDER, EVIL = {str(folder)!r}, {EVIL!r}\n{DAGS}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        runs = {name: getattr(module, name).test() for name in ("ours", "theirs", "mapped", "spy", "nothing")}
    finally:
        file.unlink()
    assert {name: str(run.state) for name, run in runs.items()} == dict.fromkeys(runs, "success")
    return {name: run.run_id for name, run in runs.items()}


def _api() -> tuple[TestClient, dict[str, str]]:
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    app: Any = create_app(apps="core")
    users = {name: SimpleAuthManagerUser(username=name, role="viewer") for name in ("reader", STRANGER)}
    tokens = {name: get_auth_manager().generate_jwt(user) for name, user in users.items()}
    return TestClient(app, base_url="http://testserver"), tokens
