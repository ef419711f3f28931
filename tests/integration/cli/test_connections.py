"""``--conn-id``, and the same commands as ``airflow gemini-batch``."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.slots.slots import record_of
from airflow_gemini_batch.engine.slots.state import Demand, Refusal, Slot, State
from airflow_gemini_batch.provider_info import get_provider_info
from tests.integration.cli.conftest import Command

pytestmark = pytest.mark.integration


@pytest.fixture
def connection(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The only place where the emulator's address and a key are."""
    monkeypatch.delenv("GOOGLE_API_KEY")
    monkeypatch.delenv("GOOGLE_GEMINI_BASE_URL")
    fields = {"conn_type": "gemini", "password": "AIzaOfTheConnection", "host": emulator.url}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(fields))
    return "other"


def test_the_key_and_the_address_are_those_of_the_connection(connection: str, gemini_batch: Command) -> None:
    code, lines, error = gemini_batch("jobs", "list", "--conn-id", connection, "--json")

    assert code == 0, error
    assert json.loads("\n".join(lines)) == {"total": 0, "jobs": []}


def test_an_address_in_the_arguments_goes_first(connection: str, gemini_batch: Command, emulator: Emulator) -> None:
    code, lines, _ = gemini_batch("doctor", "--conn-id", connection, "--base-url", f"{emulator.url}/", "--json")

    [key] = [check for check in json.loads("\n".join(lines))["checks"] if check["name"] == "key"]
    assert (code, key["found"]) == (0, f"can list batch jobs at {emulator.url}/")


@pytest.mark.parametrize("command", [("jobs", "list"), ("doctor",)])
def test_a_connection_that_is_missing(command: tuple[str, ...], gemini_batch: Command) -> None:
    code, lines, error = gemini_batch(*command, "--conn-id", "absent")

    assert code == 1
    assert "'absent'" in error + "".join(lines)


def test_without_airflow(gemini_batch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    code, _, error = gemini_batch("jobs", "list", "--conn-id", "gemini_default")

    assert code == 1
    assert "--conn-id needs Airflow" in error


def airflow(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Airflow's own command, with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "GEMINI_", "AIRFLOW_"))}
    environment = {**kept, "AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **variables}
    return subprocess.run([sys.executable, "-m", "airflow", *words], env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_airflow_has_the_commands_with_the_connection_of_its_database(emulator: Emulator, tmp_path: Path) -> None:
    host, _, port = emulator.url.removeprefix("http://").partition(":")
    fields = (
        "--conn-type",
        "gemini",
        "--conn-host",
        f"http://{host}",
        "--conn-port",
        port,
        "--conn-password",
        "AIzaOfTheDatabase",
    )
    assert airflow(tmp_path, "db", "migrate").returncode == 0
    assert airflow(tmp_path, "connections", "add", "gemini_default", *fields).returncode == 0

    listed = airflow(tmp_path, "gemini-batch", "jobs", "list", "--json")
    other = airflow(tmp_path, "gemini-batch", "jobs", "list", "--conn-id", "absent")
    helped = airflow(tmp_path, "gemini-batch", "--", "jobs", "list", "--help")

    assert (listed.returncode, json.loads(listed.stdout)) == (0, {"total": 0, "jobs": []}), listed.stderr
    assert (other.returncode, "'absent'" in other.stderr) == (1, True)
    assert "usage: airflow gemini-batch jobs list" in helped.stdout


def test_the_provider_names_a_function_that_exists() -> None:
    from importlib import import_module

    [path] = get_provider_info()["cli"]
    module, _, function = path.rpartition(".")

    [command] = getattr(import_module(module), function)()
    assert command.name == "gemini-batch"


def test_doctor_says_who_holds_places_among_the_limits_of_the_connection(
    emulator: Emulator, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    extra = {"limits_folder": str(tmp_path / "limits"), "max_active_jobs": 3}
    fields = {"conn_type": "gemini", "password": "AIzaOfTheConnection", "host": emulator.url, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SHARED", json.dumps(fields))
    record = record_of(ProjectLimits(extra["limits_folder"]))
    demand = Demand("nightly", "gemini-3.6-flash", 1_000)
    slot = Slot(demand, time.time())
    refusal = Refusal(jobs=2, tokens=2_000, times=1, at=time.time(), not_before=time.time())
    record.change(lambda state: (State({"a": slot, "b": slot}, refusals={"gemini-3.6-flash": refusal}), None))

    code, lines, _ = gemini_batch("doctor", "--conn-id", "shared")

    said = [line for line in lines if " limits: " in line]
    assert code == 0
    assert said[0] == "ok       limits: 2 slots taken (nightly 2), max_active_jobs is 3, 0 waiting"
    assert said[1].endswith("s ago with 2 jobs and about 2,000 tokens in flight")
    assert [file.name for file in (tmp_path / "limits").iterdir()] == ["0000000001.json"]


def test_doctor_says_that_the_folder_of_limits_cannot_be_used(
    emulator: Emulator, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "limits").write_text("a file")
    extra = {"limits_folder": str(tmp_path / "limits")}
    fields = {"conn_type": "gemini", "password": "AIzaOfTheConnection", "host": emulator.url, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SHARED", json.dumps(fields))

    code, lines, _ = gemini_batch("doctor", "--conn-id", "shared")

    assert code == 1
    assert any(line.startswith("failed   limits: ") for line in lines)
