"""The demo: start the emulator and Airflow, run one DAG, print a report."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from airflow_gemini_batch import examples
from airflow_gemini_batch.demo.follow import follow
from airflow_gemini_batch.demo.local_airflow import LocalAirflow
from airflow_gemini_batch.demo.progress import ProgressDisplay
from airflow_gemini_batch.demo.report import print_report
from airflow_gemini_batch.emulator import Emulator

DAG_ID = "describe_stdlib"
TASK_ID = "describe"
ESTIMATE_TASK_ID = "estimate"

#: How long a job takes in the demo: short enough to watch, long enough to be seen waiting. A deferral of only a few seconds could
#: hit a race in Airflow's scheduler (apache/airflow#66374), which would use up one of the task's retries.
_PENDING_SECONDS = 3.0
_RUNNING_SECONDS = 13.0

#: Seconds. The run takes half a minute on two idle cores.
_RUN_TIMEOUT = 300.0

#: Lines of a failed task's log that are printed.
_LOG_LINES = 40


def dags_folder() -> Path:
    """The example DAGs: inside the package when it is installed from a wheel, at the root in a checkout."""
    packaged = Path(examples.__file__).parent / "dags"
    return packaged if packaged.is_dir() else Path(examples.__file__).parents[2] / "dags"


def run_demo(console: Console, folder: Path, *, stay: bool = False) -> dict[str, Any]:
    """Run the demo. Returns the run's summary as plain JSON, empty if the DAG run failed.

    :param folder: where the tables are written; an existing, writable folder.
    :param stay: keep Airflow running afterwards, until KeyboardInterrupt.
    """
    console.print(
        "Python's standard library goes through the Gemini Batch API. The API is an emulator on this machine: "
        "[bold]its answers are synthetic[/]; no model sees the rows.\n"
    )
    work = Path(tempfile.mkdtemp(prefix="gemini-batch-demo-"))
    keep_logs = False
    try:
        with Emulator(work / "emulator", pending_seconds=_PENDING_SECONDS, running_seconds=_RUNNING_SECONDS) as emulator:
            airflow = LocalAirflow(work / "airflow", dags_folder(), {"AIRFLOW_CONN_GEMINI_DEFAULT": _connection(emulator.url)})
            summary = _run_dag(console, folder, emulator, airflow, stay)
        keep_logs = not summary.get("balanced")
        return summary
    except Exception:
        keep_logs = True
        raise
    finally:
        if keep_logs:
            console.print(f"All logs are in {work / 'airflow'}", highlight=False, markup=False, soft_wrap=True)
        else:
            shutil.rmtree(work, ignore_errors=True)


def _run_dag(console: Console, folder: Path, emulator: Emulator, airflow: LocalAirflow, stay: bool) -> dict[str, Any]:
    """Return the run's summary, empty if the DAG run failed."""
    display = ProgressDisplay(console)
    with contextlib.ExitStack() as running:
        with display:
            display.update("Emulator", "done", emulator.url)
            display.update(
                "Airflow", "working", "creating its database; starting scheduler, DAG processor, triggerer and API server"
            )
            running.enter_context(airflow)
            airflow.wait_until_healthy()
            display.update("Airflow", "done", f"running at {airflow.url}/dags/{DAG_ID}")
            airflow.rest.wait_for_dag(DAG_ID)
            run_id = airflow.rest.trigger(DAG_ID, {"folder": str(folder)})
            display.update("DAG run", "working", run_id)
            state = follow(airflow, emulator, display, DAG_ID, run_id, _RUN_TIMEOUT)
            display.update("DAG run", "done" if state == "success" else "failed", f"{run_id}: {state}")
        if state != "success":
            _print_failures(console, airflow, run_id)
            return {}
        summary: dict[str, Any] = airflow.rest.xcom(DAG_ID, run_id, TASK_ID)
        estimate = airflow.rest.xcom(DAG_ID, run_id, ESTIMATE_TASK_ID)
        print_report(console, summary, estimate, seconds=display.elapsed)
        _print_paths(console, Path(summary["destination"]))
        if stay:
            console.print(f"\nAirflow keeps running at {airflow.url} until you press Ctrl-C.", highlight=False)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        return summary


def _print_failures(console: Console, airflow: LocalAirflow, run_id: str) -> None:
    for task in airflow.rest.task_instances(DAG_ID, run_id):
        if task["state"] == "failed":
            log = airflow.rest.log(DAG_ID, run_id, task["task_id"], task["try_number"])
            console.print(f"\nTask {task['task_id']} failed. The last lines of its log:", style="red")
            console.print("\n".join(log.splitlines()[-_LOG_LINES:]), markup=False, highlight=False)


def _print_paths(console: Console, destination: Path) -> None:
    """Print where the files are. Paths are not wrapped, so that they can be copied."""
    console.print("\nThe tables were written to:")
    for name in ("results", "dead_letter", "summary.json", "summary.html"):
        console.print(f"  {destination / name}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  {destination.parent / 'stdlib.parquet'}   (the input)", markup=False, highlight=False, soft_wrap=True)


def _connection(url: str) -> str:
    return json.dumps({"conn_type": "gemini", "password": "any-key-will-do", "host": url})
