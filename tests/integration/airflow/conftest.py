"""Operators against the emulator: pass by pass without a database, and as real DAG runs with one.

Passes run in this process exactly as Airflow runs them: templates rendered, trigger arguments through JSON, a fresh copy of the
operator for each pass. That is fast and can be stopped anywhere. Tests of Airflow's own behaviour use ``dag.test()``.
"""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk import BaseOperator

from airflow_gemini_batch import GeminiBatchOperator, GenerateRequest
from airflow_gemini_batch._compat import TaskDeferred
from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger

MODEL = "gemini-3.6-flash"
KEY = "AIzaCanaryKeyThatMustNotLeak0123456789"


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0.1, running_seconds=0.2) as emulator:
        yield emulator


@pytest.fixture
def connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """(Re)define ``gemini_default``, which points at the emulator."""

    def connect(**fields: Any) -> None:
        connection = {"conn_type": "gemini", "password": KEY, "host": emulator.url, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_GEMINI_DEFAULT", json.dumps(connection))

    connect()
    return connect


def table(rows: int) -> pa.Table:
    return pa.table({"id": [f"k{number}" for number in range(rows)], "body": [f"number {number}" for number in range(rows)]})


@pytest.fixture
def source(tmp_path: Path) -> str:
    pq.write_table(table(12), tmp_path / "rows.parquet")
    return str(tmp_path / "rows.parquet")


@pytest.fixture
def describe(connect: Callable[..., None], source: str, tmp_path: Path) -> Callable[..., GeminiBatchOperator]:
    """The one-operator task over twelve rows in three shards, with short waits; ``options`` are merged."""

    def describe(**arguments: Any) -> GeminiBatchOperator:
        given: dict[str, Any] = {
            "task_id": "describe",
            "source": source,
            "request": GenerateRequest(prompt="Repeat: ${body}"),
            "model": MODEL,
            "destination": str(tmp_path / "run"),
            "key": "id",
            "carry": ["body"],
            "options": {"max_shard_requests": 5, "poll_interval": 0.1, **arguments.pop("options", {})},
        }
        return GeminiBatchOperator(**{**given, **arguments})

    return describe


def context(run_id: str = "r") -> Any:
    return {"ti": SimpleNamespace(dag_id="d", run_id=run_id, task_id="describe", map_index=-1), "ds": "2026-11-21"}


CONTEXT = context()


@dataclass
class Passes:
    """One try of a task, pass by pass."""

    operator: BaseOperator
    context: Any = field(default_factory=context)
    result: Any = None
    ended: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    deferred: TaskDeferred | None = None

    def start(self) -> Passes:
        return self._pass(lambda task: task.execute(self.context))

    def resume(self, event: dict[str, Any] | None = None) -> Passes:
        """Wait as the triggerer does and run the next pass."""
        assert self.deferred is not None
        deferred = self.deferred
        event = event if event is not None else self.wait()
        self.events.append(event)
        return self._pass(lambda task: getattr(task, deferred.method_name)(self.context, event=event))

    def finish(self) -> Any:
        self.start()
        while not self.ended:
            self.resume()
        return self.result

    @property
    def trigger(self) -> GeminiBatchTrigger:
        """Made as the triggerer does, from what is stored in the metadata database."""
        assert self.deferred is not None
        _, arguments = self.deferred.trigger.serialize()
        trigger = GeminiBatchTrigger(**json.loads(json.dumps(arguments)))
        trigger.task_instance = self.context["ti"]
        return trigger

    def wait(self) -> dict[str, Any]:
        async def first_event() -> Any:
            return await anext(self.trigger.run())

        return dict(json.loads(json.dumps(asyncio.run(first_event()).payload)))

    def _pass(self, step: Callable[[Any], Any]) -> Passes:
        task = copy.deepcopy(self.operator)
        task.render_template_fields(self.context)
        try:
            self.result, self.deferred, self.ended = step(task), None, True
            json.dumps(self.result)
        except TaskDeferred as deferred:
            self.deferred = deferred
        return self


@pytest.fixture
def task_state(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Set the state that Airflow's supervisor gives for the task when it is asked. Otherwise it gives no answer."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult

    def set_state(state: str | None) -> None:
        def send(request: GetTaskStates) -> TaskStatesResult:
            assert (request.dag_id, request.task_ids, request.run_ids, request.map_index) == ("d", ["describe"], ["r"], -1)
            return TaskStatesResult(task_states={"r": {"describe": state}})

        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)

    return set_state


def created(emulator: Emulator) -> list[str]:
    """The display names under which jobs were created: each names a shard and attempt."""
    return [entry["display_name"] for entry in emulator.journal("create")]


def read(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in sorted(folder.glob("*.parquet")):
        rows += pq.read_table(part).to_pylist()
    return sorted(rows, key=lambda row: row["key"])


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """A migrated database in the session's own AIRFLOW_HOME. It is made once, which takes about fifteen seconds."""
    from airflow.utils.db import initdb

    initdb()


@dataclass
class DagRunResult:
    """
    :param shown: the rendered templates, as the page of that name shows them; ``labels`` the names of mapped instances.
    """

    state: str
    tasks: dict[str, list[str]]
    returned: dict[str, list[Any]]
    errors: list[BaseException]
    shown: dict[str, list[dict[str, Any]]]
    labels: dict[str, list[str | None]]

    def __getitem__(self, task_id: str) -> Any:
        """The return value of a task; for a mapped task, of its first instance."""
        return self.returned[task_id][0]


@pytest.fixture
def write_dag(airflow_db: None, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Write a DAG file into the DAGs folder and import it. Returns the module, which has ``dag`` and ``ERRORS``."""
    from airflow.configuration import conf

    files: list[Path] = []

    def write(body: str, **names: Any) -> Any:
        dag_id = re.sub(r"\W", "_", request.node.name)
        file = Path(conf.get("core", "dags_folder")) / f"{dag_id}.py"
        files.append(file)
        lines = [f"{name} = {value!r}" for name, value in {**names, "MODEL": MODEL}.items()]
        with_block = textwrap.indent(textwrap.dedent(body), "    ")
        file.write_text("\n".join([_HEADER, *lines, f"with DAG({dag_id!r}, **SETTINGS) as dag:", with_block]))
        spec = importlib.util.spec_from_file_location(dag_id, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield write
    for file in files:
        file.unlink()


@pytest.fixture
def run_dag(write_dag: Callable[..., Any], connect: Any) -> Callable[..., DagRunResult]:
    """Write a DAG file into the DAGs folder and run it with ``dag.test()``."""

    def run(body: str, **names: Any) -> DagRunResult:
        module = write_dag(body, **names)
        return _result(module.dag.test(), module.ERRORS)

    return run


@pytest.fixture
def run_file(airflow_db: None, connect: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., DagRunResult]]:
    """Run the one DAG of a file with ``dag.test()``, with these params."""
    from airflow.configuration import conf
    from airflow.sdk import BaseOperator

    file = Path(conf.get("core", "dags_folder")) / f"{re.sub(r'[^a-z_]', '_', request.node.name)}.py"

    def run(content: str, params: dict[str, Any]) -> DagRunResult:
        file.write_text(content)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # The file keeps its DAG in no variable.
        [dag] = {value.dag for value in vars(module).values() if isinstance(value, BaseOperator)}
        return _result(dag.test(run_conf=params), [])

    yield run
    file.unlink()


_HEADER = """
from datetime import timedelta
import pyarrow as pa
from airflow.sdk import DAG, task, task_group
from airflow_gemini_batch import *

ERRORS = []
SETTINGS = {
    "schedule": None,
    "default_args": {
        "retries": 1,
        "retry_delay": timedelta(seconds=0),
        "on_failure_callback": lambda context: ERRORS.append(context["exception"]),
    },
}
"""


def _result(dag_run: Any, errors: list[BaseException]) -> DagRunResult:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    tasks: dict[str, list[str]] = {}
    labels: dict[str, list[str | None]] = {}
    for instance in sorted(dag_run.get_task_instances(), key=lambda instance: instance.map_index):
        tasks.setdefault(instance.task_id, []).append(str(instance.state))
        labels.setdefault(instance.task_id, []).append(instance.rendered_map_index)
    shown: dict[str, list[dict[str, Any]]] = {}
    returned: dict[str, list[Any]] = {}
    with create_session() as session:
        rows = session.query(XComModel).filter(XComModel.run_id == dag_run.run_id, XComModel.dag_id == dag_run.dag_id)
        for row in rows.order_by(XComModel.map_index):
            if row.key == "return_value":
                returned.setdefault(row.task_id, []).append(XComModel.deserialize_value(row))
        fields = session.query(RenderedTaskInstanceFields).filter(
            RenderedTaskInstanceFields.run_id == dag_run.run_id, RenderedTaskInstanceFields.dag_id == dag_run.dag_id
        )
        for row in fields.order_by(RenderedTaskInstanceFields.map_index):
            shown.setdefault(row.task_id, []).append(row.rendered_fields)
    return DagRunResult(str(dag_run.state), tasks, returned, errors, shown, labels)
