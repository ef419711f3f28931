"""A local Airflow uses none of the user's settings and leaves no process running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from airflow_gemini_batch.demo.local_airflow import LocalAirflow, LocalAirflowError, end_session

DAGS = Path(__file__).parents[3] / "dags"


def test_settings_and_keys_of_the_user_are_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/home/someone/airflow")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", "cat /etc/production")
    monkeypatch.setenv("AIRFLOW_CONN_GEMINI_DEFAULT", "gemini://:a-real-key@")
    monkeypatch.setenv("GEMINI_API_KEY", "a-real-key")

    environment = LocalAirflow(tmp_path, DAGS).environment

    assert environment["AIRFLOW_HOME"] == str(tmp_path)
    assert not {name for name in environment if name.endswith("_CMD")}
    assert "a-real-key" not in "".join(environment.values())


def test_requests_to_loopback_bypass_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")

    environment = LocalAirflow(tmp_path, DAGS).environment

    assert environment["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_the_given_connection_reaches_every_process(tmp_path: Path) -> None:
    airflow = LocalAirflow(tmp_path, DAGS, {"AIRFLOW_CONN_GEMINI_DEFAULT": "{}"})

    assert airflow.environment["AIRFLOW_CONN_GEMINI_DEFAULT"] == "{}"


def test_the_error_for_a_process_that_ended_holds_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(LocalAirflowError, match=r"could not create its database(.|\n)*nonsense"):
        LocalAirflow(tmp_path, DAGS, {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "nonsense://"}).start()


def test_a_process_whose_parent_has_ended_is_ended_too() -> None:
    # The shell ends at once. Its child keeps running in its own process group, like the task of a killed worker.
    code = "import os, time; os.setpgid(0, 0); print('up', flush=True); time.sleep(600)"
    shell = subprocess.Popen(
        ["sh", "-c", '"$0" -c "$1" & exit 0', sys.executable, code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert shell.stdout is not None
    assert shell.stdout.readline() == b"up\n"
    shell.wait()
    orphans = [process for process in psutil.process_iter(["cmdline"]) if code in (process.info["cmdline"] or [])]

    end_session(shell.pid)

    shell.stdout.close()
    assert len(orphans) == 1
    assert not orphans[0].is_running() or orphans[0].status() == psutil.STATUS_ZOMBIE
