"""``gemini-batch demo`` as a user runs it, on a machine that has Airflow settings, an API key and a proxy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(300)

#: These would break the demo if it used them.
USER_VARIABLES = {
    "AIRFLOW_HOME": "/nowhere/airflow",
    "AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://production",
    "GEMINI_API_KEY": "a-real-key",
    "HTTP_PROXY": "http://192.0.2.1:3128",
}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, started in an empty folder with its output going to a file."""
    (tmp_path / "tmp").mkdir()
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow_gemini_batch.cli", "demo"],
            cwd=tmp_path,
            env={**os.environ, **USER_VARIABLES, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell that runs the tests in the background makes them, and the processes they start, ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    yield process
    process.kill()
    process.wait()


def _still_running(folder: Path) -> list[psutil.Process]:
    """Running processes that were started with this folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder / "tmp") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_it_writes_two_tables_that_balance(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    code = demo.wait(timeout=270)

    output = (tmp_path / "output").read_text(encoding="utf-8")
    assert code == 0, output
    assert "deferred" in output
    assert "every key is in one table, once" in output
    assert output.index("Estimate ") < output.index("Cost ")
    assert "its answers are synthetic" in " ".join(output.split())
    [summary] = (tmp_path / "gemini-batch-demo").glob("*/described/summary.json")
    assert str(summary) in output
    assert json.loads(summary.read_text(encoding="utf-8"))["balanced"]
    assert _still_running(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_ctrl_c_leaves_no_process_and_no_file(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    while len(_still_running(tmp_path)) < 3:  # the command itself, and at least two of Airflow's processes
        assert time.monotonic() < deadline
        assert demo.poll() is None
        time.sleep(0.2)

    demo.send_signal(signal.SIGINT)

    assert demo.wait(timeout=30) == 130
    assert "No process is left running" in (tmp_path / "output").read_text(encoding="utf-8")
    assert _still_running(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
