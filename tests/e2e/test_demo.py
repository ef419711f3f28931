"""``gemini-batch demo``, as a user runs it, on a machine with settings of its own."""

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

#: What would break the demo if it got through.
FOREIGN = {
    "AIRFLOW_HOME": "/nowhere/airflow",
    "AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://production",
    "GEMINI_API_KEY": "a-real-key",
    "HTTP_PROXY": "http://192.0.2.1:3128",
}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in an empty folder, its output in a file and not a terminal."""
    (tmp_path / "tmp").mkdir()
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow_gemini_batch.cli", "demo"],
            cwd=tmp_path,
            env={**os.environ, **FOREIGN, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell that runs the tests in the background has them ignore Ctrl-C, and what they start with them.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    yield process
    process.kill()
    process.wait()


def _left_behind(folder: Path) -> list[psutil.Process]:
    """Processes that were started to work in a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder / "tmp") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_it_ends_with_two_tables_that_balance(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    code = demo.wait(timeout=270)

    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert code == 0, said
    assert "deferred" in said
    assert "every key is in one of them, once" in said
    assert "its answers are synthetic" in " ".join(said.split())
    [summary] = (tmp_path / "gemini-batch-demo").glob("*/described/summary.json")
    assert str(summary) in said
    assert json.loads(summary.read_text(encoding="utf-8"))["balanced"]
    assert _left_behind(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_ctrl_c_leaves_nothing_behind(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    while len(_left_behind(tmp_path)) < 3:  # the command itself, and at least two of Airflow's processes
        assert time.monotonic() < deadline
        assert demo.poll() is None
        time.sleep(0.2)

    demo.send_signal(signal.SIGINT)

    assert demo.wait(timeout=30) == 130
    assert "No process is left running" in (tmp_path / "said").read_text(encoding="utf-8")
    assert _left_behind(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
