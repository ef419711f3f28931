"""The demo itself: emulator up, Airflow up, one DAG run, and what came of it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import tempfile
from pathlib import Path

from rich.console import Console

from airflow_gemini_batch import examples
from airflow_gemini_batch.demo.following import follow
from airflow_gemini_batch.demo.local_airflow import LocalAirflow
from airflow_gemini_batch.demo.report import print_report
from airflow_gemini_batch.demo.screen import Screen
from airflow_gemini_batch.emulator import Emulator

DAG_ID = "describe_stdlib"
TASK_ID = "describe"

#: How long a job takes here: short enough to watch, long enough to be seen waiting. A deferral of a few seconds would meet
#: a race of Airflow's scheduler (apache/airflow#66374) and cost the task one of its retries.
_PENDING_SECONDS = 3.0
_RUNNING_SECONDS = 13.0

#: The run takes half a minute on two idle cores.
_RUN_TIMEOUT = 300.0

_LOG_LINES = 40


def dags_folder() -> Path:
    """The example DAGs: inside an installed package, at the root of a checkout."""
    packaged = Path(examples.__file__).parent / "dags"
    return packaged if packaged.is_dir() else Path(examples.__file__).parents[2] / "dags"


def show(console: Console, folder: Path, *, stay: bool = False) -> int:
    """Run the demo; returns the exit code, 0 only for a run that ended well and balances.

    :param folder: for the tables; it exists and can be written.
    :param stay: whether to leave Airflow running after it, until KeyboardInterrupt.
    """
    console.print(
        "Python's standard library goes through the Gemini Batch API. The API is an emulator on this machine: "
        "[bold]its answers are synthetic[/], no model has seen the rows.\n"
    )
    work = Path(tempfile.mkdtemp(prefix="gemini-batch-demo-"))
    keep = False
    try:
        with Emulator(work / "emulator", pending_seconds=_PENDING_SECONDS, running_seconds=_RUNNING_SECONDS) as emulator:
            airflow = LocalAirflow(work / "airflow", dags_folder(), {"AIRFLOW_CONN_GEMINI_DEFAULT": _connection(emulator.url)})
            balanced = _run(console, folder, emulator, airflow, stay)
        keep = not balanced
        return 0 if balanced else 1
    except Exception:
        keep = True
        raise
    finally:
        if keep:
            console.print(f"All logs are in {work / 'airflow'}", highlight=False, markup=False, soft_wrap=True)
        else:
            shutil.rmtree(work, ignore_errors=True)


def _run(console: Console, folder: Path, emulator: Emulator, airflow: LocalAirflow, stay: bool) -> bool:
    """Returns whether the run ended well and balances."""
    screen = Screen(console)
    with contextlib.ExitStack() as running:
        with screen:
            screen.show("Emulator", "done", emulator.url)
            screen.show("Airflow", "working", "makes its database; starts scheduler, DAG processor, triggerer, API server")
            running.enter_context(airflow)
            airflow.wait_until_healthy()
            screen.show("Airflow", "done", f"up: {airflow.url}/dags/{DAG_ID}")
            airflow.rest.wait_for_dag(DAG_ID)
            run_id = airflow.rest.trigger(DAG_ID, {"folder": str(folder)})
            screen.show("DAG run", "working", run_id)
            state = follow(airflow, emulator, screen, DAG_ID, run_id, _RUN_TIMEOUT)
            screen.show("DAG run", "done" if state == "success" else "failed", f"{run_id}: {state}")
        if state != "success":
            _print_failures(console, airflow, run_id)
            return False
        summary = airflow.rest.xcom(DAG_ID, run_id, TASK_ID)
        print_report(console, summary, seconds=screen.elapsed)
        _print_places(console, Path(summary["destination"]))
        if stay:
            console.print(f"\nAirflow stays up at {airflow.url} until you press Ctrl-C.", highlight=False)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        return bool(summary["balanced"])


def _print_failures(console: Console, airflow: LocalAirflow, run_id: str) -> None:
    for task in airflow.rest.task_instances(DAG_ID, run_id):
        if task["state"] == "failed":
            log = airflow.rest.log(DAG_ID, run_id, task["task_id"], task["try_number"])
            console.print(f"\nThe log of task {task['task_id']} ends so:", style="red")
            console.print("\n".join(log.splitlines()[-_LOG_LINES:]), markup=False, highlight=False)


def _print_places(console: Console, destination: Path) -> None:
    """Where the files are; paths are not wrapped, so that they can be copied."""
    console.print("\nThe tables are kept:")
    for name in ("results", "dead_letter", "summary.json"):
        console.print(f"  {destination / name}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  {destination.parent / 'stdlib.parquet'}   (what went in)", markup=False, highlight=False, soft_wrap=True)


def _connection(url: str) -> str:
    return json.dumps({"conn_type": "gemini", "password": "any-key-will-do", "host": url})
