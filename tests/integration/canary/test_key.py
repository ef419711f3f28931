"""Each stage fails in turn, in both forms, inside a real Airflow, and the API key is nowhere.

After each run everything that it could have written is searched: Airflow's home (database, logs, configuration), the run's
folder, what was printed and logged, and the exceptions with their causes. The key itself is given in the connection, or in the
environment for a connection without a password.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch import GeminiBatchOperator, GeminiHook
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, RowFault
from tests.integration.airflow.conftest import KEY, Legs
from tests.integration.canary.search import found_in_folder, is_in_text, text_of

pytestmark = pytest.mark.timeout(240)

CREATE = ":batchGenerateContent"


@dataclass(frozen=True)
class Stage:
    """Where it fails. ``build``: arguments of the first step, and ``options``: fields for all of them, as source text."""

    state: str = "failed"
    faults: tuple[Any, ...] = ()
    build: str = ""
    options: str = ""
    connection: dict[str, str] = field(default_factory=dict)


STAGES = {
    "nothing": Stage("success"),
    "build": Stage(build="source='/nowhere/rows.parquet'"),
    "upload": Stage(faults=(HttpFault(do="status", status=403, path="^/upload/"),)),
    "create refused": Stage(faults=(HttpFault(do="status", status=400, path=CREATE),)),
    "create out of quota": Stage(
        faults=(HttpFault(do="status", status=429, path=CREATE),), options="timeout=timedelta(seconds=1)"
    ),
    "create in doubt": Stage("success", faults=(HttpFault(do="status", status=503, path=CREATE, when="after", nth=1),)),
    "create dropped": Stage("success", faults=(HttpFault(do="drop", path=CREATE, when="after", nth=1),)),
    "poll refused": Stage(faults=(HttpFault(do="status", status=403, method="GET", path="/batches"),)),
    "poll dropped": Stage("success", faults=(HttpFault(do="drop", method="GET", path="/batches", count=2),)),
    "download gone": Stage(faults=(HttpFault(do="status", status=404, path=":download"),)),
    "download cut": Stage(faults=(HttpFault(do="truncate", bytes=9, path=":download"),), options="collect_timeout=timedelta(0)"),
    "landing": Stage(faults=(RowFault(do="torn", fraction=1.0),), options="max_dead_letter_ratio=0.0"),
    "finish": Stage(faults=(RowFault(do="error", fraction=1.0),), options="max_dead_letter_ratio=0.0"),
    "wrong key": Stage(connection={"password": f"invalid-{KEY}"}),
    "impossible key": Stage(connection={"password": f"{KEY} "}),
    "no connection": Stage(build="gemini_conn_id='nowhere'"),
    "timeout": Stage(faults=(JobFault(do="hang"),), options="timeout=timedelta(seconds=1)"),
}

#: The stages of the fast suite: a run that ends well, one that is refused by its key, and one whose create is in doubt.
OFTEN = ("nothing", "wrong key", "create in doubt")

ASKED = """
    source=SOURCE,
    request=GenerateRequest(prompt="Repeat: ${body}"),
    model=MODEL,
    destination=DESTINATION,
    key="id",
"""


def options_of(stage: Stage) -> str:
    return f"options=dict(max_shard_requests=5, poll_interval=0.2, {stage.options})"


def one_operator(stage: Stage) -> str:
    given = f"{options_of(stage)}, retries=0"
    return f"GeminiBatchOperator(task_id='describe', **{{**dict({ASKED} {given}), **dict({stage.build})}})"


def steps(stage: Stage) -> str:
    options = options_of(stage)
    return f"""
built = GeminiBatchBuildOperator(task_id='build', **{{**dict({ASKED} {options}, retries=0), **dict({stage.build})}})
jobs = GeminiBatchSubmitOperator.partial(task_id='submit', retries=0, {options}).expand(shard=built.output)
done = GeminiBatchSensor.partial(task_id='wait', retries=0, {options}).expand(job=jobs.output)
parts = GeminiBatchDownloadOperator.partial(task_id='download', retries=0, {options}).expand(job=done.output)
parts >> GeminiBatchFinishOperator(task_id='finish', retries=0, destination=DESTINATION, {options})
"""


FORMS = {"one operator": one_operator, "steps": steps}


@pytest.fixture
def searched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Fails when the key is anywhere."""
    monkeypatch.setattr("airflow_gemini_batch.engine.wait.waiting._QUOTA_WAIT", 0.2)

    def search(*errors: BaseException, told: str = "") -> None:
        out, err = capfd.readouterr()
        assert found_in_folder(KEY, Path(os.environ["AIRFLOW_HOME"])) == []
        assert found_in_folder(KEY, tmp_path, apart_from=(tmp_path / "service",)) == []
        assert not is_in_text(KEY, out, err, caplog.text, told), "printed or logged"
        assert not is_in_text(KEY, *map(text_of, errors)), "in an exception"

    return search


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in STAGES])
@pytest.mark.parametrize("form", FORMS)
def test_a_stage_that_fails_tells_no_key(
    form: str,
    name: str,
    run_dag: Callable[..., Any],
    connect: Callable[..., None],
    searched: Callable[..., None],
    source: str,
    tmp_path: Path,
    emulator: Emulator,
) -> None:
    stage = STAGES[name]
    connect(**stage.connection)
    emulator.faults.add(*stage.faults)

    ran = run_dag(FORMS[form](stage), SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert ran.state == stage.state
    assert bool(ran.errors) is (stage.state == "failed")
    searched(*ran.errors, told=json.dumps(ran.returned))


def test_what_a_run_leaves_is_searched(run_dag: Callable[..., Any], connect: Any, source: str, tmp_path: Path) -> None:
    """What is known to be in the database and in the run is found there, so that the key would be."""
    run_dag(one_operator(STAGES["nothing"]), SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert "airflow.db" in found_in_folder(str(tmp_path / "run"), Path(os.environ["AIRFLOW_HOME"]))
    found = found_in_folder("number 7", tmp_path / "run")
    assert {name.split("/")[0] for name in found} == {"_run", "results"}


@pytest.mark.parametrize("name", ["nothing", "create in doubt", "poll refused", "download gone", "wrong key"])
@pytest.mark.parametrize("variable", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
def test_nor_does_one_with_a_key_from_the_environment(
    variable: str,
    name: str,
    run_dag: Callable[..., Any],
    connect: Callable[..., None],
    searched: Callable[..., None],
    source: str,
    tmp_path: Path,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = STAGES[name]
    connect(password="")
    monkeypatch.setenv(variable, stage.connection.get("password", KEY))
    emulator.faults.add(*stage.faults)

    ran = run_dag(one_operator(stage), SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert ran.state == stage.state
    searched(*ran.errors, told=json.dumps(ran.returned))


def test_a_killed_wait_tells_no_key(
    describe: Callable[..., GeminiBatchOperator], searched: Callable[..., None], emulator: Emulator, airflow_db: None
) -> None:
    emulator.faults.add(JobFault(do="hang"), HttpFault(do="status", status=403, path=":cancel"))
    legs = Legs(describe()).start()

    asyncio.run(legs.trigger.on_kill())

    searched(told=json.dumps(legs.trigger.serialize()) + repr(legs.trigger))


def test_a_killed_worker_tells_no_key(
    describe: Callable[..., GeminiBatchOperator], searched: Callable[..., None], emulator: Emulator, airflow_db: None
) -> None:
    emulator.faults.add(JobFault(do="hang"), HttpFault(do="status", status=403, path=":cancel"))
    task = describe(deferrable=False)
    before = signal.signal(signal.SIGALRM, lambda *_: task.on_kill())
    signal.setitimer(signal.ITIMER_REAL, 2.0)

    try:
        with pytest.raises(SystemExit) as killed:
            task.execute(Legs(task).context)
    finally:
        signal.signal(signal.SIGALRM, before)

    searched(killed.value, told=repr(task.hook.__dict__))


def test_what_a_person_may_print_tells_no_key(
    connect: Callable[..., None], searched: Callable[..., None], airflow_db: None
) -> None:
    hook = GeminiHook()

    with hook.client as client:
        printed = [repr(hook.endpoint), str(hook.endpoint), repr(client), repr(hook), repr(vars(client))]

    searched(told="\n".join(printed))
