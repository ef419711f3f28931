"""Each step fails in turn, in both forms, inside a real Airflow, and the API key is not found anywhere.

After each run, everything that it could have written is searched: Airflow's home (database, logs, configuration), the run's
folder, the printed and logged text, and the exceptions with their causes. The key comes from the connection, or from the
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
from tests.integration.airflow.conftest import KEY, Passes
from tests.integration.canary.search import found_in_folder, is_in_text, text_of

pytestmark = pytest.mark.timeout(240)

CREATE = ":batchGenerateContent"


@dataclass(frozen=True)
class Failure:
    """How a run fails, if it does.

    :param state: the expected state of the DAG run.
    :param build: arguments of the first step, as source text.
    :param options: fields of ``options`` for all steps, as source text.
    :param connection: fields of the connection.
    """

    state: str = "failed"
    faults: tuple[Any, ...] = ()
    build: str = ""
    options: str = ""
    connection: dict[str, str] = field(default_factory=dict)


FAILURES = {
    "nothing": Failure("success"),
    "build": Failure(build="source='/nowhere/rows.parquet'"),
    "upload": Failure(faults=(HttpFault(do="status", status=403, path="^/upload/"),)),
    "create refused": Failure(faults=(HttpFault(do="status", status=400, path=CREATE),)),
    "create out of quota": Failure(
        faults=(HttpFault(do="status", status=429, path=CREATE),), options="timeout=timedelta(seconds=1)"
    ),
    "create with unknown outcome": Failure(
        "success", faults=(HttpFault(do="status", status=503, path=CREATE, when="after", nth=1),)
    ),
    "create dropped": Failure("success", faults=(HttpFault(do="drop", path=CREATE, when="after", nth=1),)),
    "poll refused": Failure(faults=(HttpFault(do="status", status=403, method="GET", path="/batches"),)),
    "poll dropped": Failure("success", faults=(HttpFault(do="drop", method="GET", path="/batches", count=2),)),
    "download gone": Failure(faults=(HttpFault(do="status", status=404, path=":download"),)),
    "download cut": Failure(
        faults=(HttpFault(do="truncate", bytes=9, path=":download"),), options="collect_timeout=timedelta(0)"
    ),
    "landing": Failure(faults=(RowFault(do="torn", fraction=1.0),), options="max_dead_letter_ratio=0.0"),
    "finish": Failure(faults=(RowFault(do="error", fraction=1.0),), options="max_dead_letter_ratio=0.0"),
    "wrong key": Failure(connection={"password": f"invalid-{KEY}"}),
    "impossible key": Failure(connection={"password": f"{KEY} "}),
    "no connection": Failure(build="gemini_conn_id='nowhere'"),
    "timeout": Failure(faults=(JobFault(do="hang"),), options="timeout=timedelta(seconds=1)"),
}

#: Run in the fast suite too: a run that succeeds, one whose key is refused, and one whose create has an unknown outcome.
FAST = ("nothing", "wrong key", "create with unknown outcome")

ARGUMENTS = """
    source=SOURCE,
    request=GenerateRequest(prompt="Repeat: ${body}"),
    model=MODEL,
    destination=DESTINATION,
    key="id",
"""


def options_of(failure: Failure) -> str:
    return f"options=dict(max_shard_requests=5, poll_interval=0.2, {failure.options})"


def one_operator(failure: Failure) -> str:
    given = f"{options_of(failure)}, retries=0"
    return f"GeminiBatchOperator(task_id='describe', **{{**dict({ARGUMENTS} {given}), **dict({failure.build})}})"


def steps(failure: Failure) -> str:
    options = options_of(failure)
    return f"""
built = GeminiBatchBuildOperator(task_id='build', **{{**dict({ARGUMENTS} {options}, retries=0), **dict({failure.build})}})
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
    """A function that fails if the key is found anywhere."""
    monkeypatch.setattr("airflow_gemini_batch.engine.gemini.waits._QUOTA_WAIT", 0.2)

    def search(*errors: BaseException, text: str = "") -> None:
        out, err = capfd.readouterr()
        assert found_in_folder(KEY, Path(os.environ["AIRFLOW_HOME"])) == []
        assert found_in_folder(KEY, tmp_path, excluding=(tmp_path / "service",)) == []
        assert not is_in_text(KEY, out, err, caplog.text, text), "printed or logged"
        assert not is_in_text(KEY, *map(text_of, errors)), "in an exception"

    return search


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FAILURES])
@pytest.mark.parametrize("form", FORMS)
def test_a_failing_run_does_not_reveal_the_key(
    form: str,
    name: str,
    run_dag: Callable[..., Any],
    connect: Callable[..., None],
    searched: Callable[..., None],
    source: str,
    tmp_path: Path,
    emulator: Emulator,
) -> None:
    failure = FAILURES[name]
    connect(**failure.connection)
    emulator.faults.add(*failure.faults)

    ran = run_dag(FORMS[form](failure), SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert ran.state == failure.state
    assert bool(ran.errors) is (failure.state == "failed")
    searched(*ran.errors, text=json.dumps(ran.returned))


def test_the_database_and_the_run_are_searched(run_dag: Callable[..., Any], connect: Any, source: str, tmp_path: Path) -> None:
    """Text that is known to be in the database and in the run is found there, so the key would be found too."""
    run_dag(one_operator(FAILURES["nothing"]), SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert "airflow.db" in found_in_folder(str(tmp_path / "run"), Path(os.environ["AIRFLOW_HOME"]))
    found = found_in_folder("number 7", tmp_path / "run")
    assert {name.split("/")[0] for name in found} == {"_run", "results"}


@pytest.mark.parametrize("name", ["nothing", "create with unknown outcome", "poll refused", "download gone", "wrong key"])
@pytest.mark.parametrize("variable", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
def test_a_run_with_a_key_from_the_environment_does_not_reveal_it(
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
    failure = FAILURES[name]
    connect(password="")
    monkeypatch.setenv(variable, failure.connection.get("password", KEY))
    emulator.faults.add(*failure.faults)

    ran = run_dag(one_operator(failure), SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert ran.state == failure.state
    searched(*ran.errors, text=json.dumps(ran.returned))


def test_a_killed_wait_does_not_reveal_the_key(
    describe: Callable[..., GeminiBatchOperator], searched: Callable[..., None], emulator: Emulator, airflow_db: None
) -> None:
    emulator.faults.add(JobFault(do="hang"), HttpFault(do="status", status=403, path=":cancel"))
    passes = Passes(describe()).start()

    asyncio.run(passes.trigger.on_kill())

    searched(text=json.dumps(passes.trigger.serialize()) + repr(passes.trigger))


def test_a_killed_worker_does_not_reveal_the_key(
    describe: Callable[..., GeminiBatchOperator], searched: Callable[..., None], emulator: Emulator, airflow_db: None
) -> None:
    emulator.faults.add(JobFault(do="hang"), HttpFault(do="status", status=403, path=":cancel"))
    task = describe(deferrable=False)
    before = signal.signal(signal.SIGALRM, lambda *_: task.on_kill())
    signal.setitimer(signal.ITIMER_REAL, 2.0)

    try:
        with pytest.raises(SystemExit) as killed:
            task.execute(Passes(task).context)
    finally:
        signal.signal(signal.SIGALRM, before)

    searched(killed.value, text=repr(task.hook.__dict__))


def test_printed_objects_do_not_reveal_the_key(
    connect: Callable[..., None], searched: Callable[..., None], airflow_db: None
) -> None:
    hook = GeminiHook()

    with hook.client as client:
        printed = [repr(hook.endpoint), str(hook.endpoint), repr(client), repr(hook), repr(vars(client))]

    searched(text="\n".join(printed))
