"""A connection that is only in the metadata database, in runs whose triggers run in the task's own process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator
from tests.integration.airflow.conftest import KEY, created, read

RunDag = Callable[..., Any]

pytestmark = pytest.mark.timeout(240)

DAG_BODY = """
GeminiBatchOperator(
    task_id="describe",
    source=SOURCE,
    request=GenerateRequest(prompt="Repeat: ${body}"),
    model=MODEL,
    destination=DESTINATION,
    gemini_conn_id="only_in_the_database",
    options={"max_shard_requests": 5, "poll_interval": 0.2},
)
"""


@pytest.fixture
def stored_connection(airflow_db: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    connection = Connection(conn_id="only_in_the_database", conn_type="gemini", password=KEY, host=emulator.url)
    with create_session() as session:
        session.add(connection)
    monkeypatch.delenv("AIRFLOW_CONN_GEMINI_DEFAULT", raising=False)
    yield
    with create_session() as session:
        session.query(Connection).filter(Connection.conn_id == "only_in_the_database").delete()


def test_dag_test_finds_it_also_while_the_task_is_deferred(
    run_dag: RunDag, stored_connection: None, source: str, tmp_path: Path, emulator: Emulator
) -> None:
    ran = run_dag(DAG_BODY, SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert (ran.state, ran.errors) == ("success", [])
    assert ran["describe"]["results"] == 12
    assert len(created(emulator)) == 3


def test_airflow_tasks_test_finds_it_also_while_the_task_is_deferred(
    write_dag: Callable[..., Any], stored_connection: None, source: str, tmp_path: Path, emulator: Emulator
) -> None:
    dag_id = write_dag(DAG_BODY, SOURCE=source, DESTINATION=str(tmp_path / "run")).dag.dag_id
    airflow("dags", "reserialize")

    airflow("tasks", "test", dag_id, "describe", "2026-11-21")

    assert len(read(tmp_path / "run" / "results")) == 12
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["balanced"]
    assert len(created(emulator)) == 3


def airflow(*command: str) -> None:
    """Run a command of Airflow's command line in this process."""
    from airflow.cli.cli_parser import get_parser

    arguments = get_parser().parse_args(command)
    arguments.func(arguments)
