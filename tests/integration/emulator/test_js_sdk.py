"""The JavaScript SDK, unmodified, does to the emulator what it does to the service: in CI, and on `make test-js`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from airflow_gemini_batch.emulator import Emulator, JobFault

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "tests" / "js"
#: node looks for packages beside the script and above it, so the script goes where they are.
WORKSHOP = ROOT / "build" / "js"

pytestmark = [
    pytest.mark.skipif(not (os.environ.get("CI") or os.environ.get("TEST_JS")), reason="asks the npm registry: `make test-js`"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not on this machine"),
    pytest.mark.timeout(300),
]


def run(*command: str) -> str:
    ended = subprocess.run(command, cwd=WORKSHOP, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


@pytest.fixture
def sdk() -> None:
    WORKSHOP.mkdir(parents=True, exist_ok=True)
    for file in SOURCES.iterdir():
        shutil.copy(file, WORKSHOP)
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")


def test_the_javascript_sdk_uploads_creates_gets_lists_cancels_deletes_and_downloads(sdk: None, tmp_path: Path):
    with Emulator(tmp_path / "state", pending_seconds=0.1, running_seconds=0) as emulator:
        emulator.faults.add(JobFault(do="hang", display_name="^slow"))

        seen = json.loads(run("node", "trip.mjs", emulator.url, str(tmp_path)))

        assert [entry["sha256"] is not None for entry in emulator.journal("create")] == [True, False, False]
    assert seen == {
        "uploaded": "from-js",
        "created": "JOB_STATE_PENDING",
        "done": "JOB_STATE_SUCCEEDED",
        "rows": [[key, f"{key} is about rain. It is wet."] for key in ("request-1", "request-2")],
        "inline": ["Snow falls. It is cold."],
        "cancelled": "JOB_STATE_CANCELLED",
        "listed": ["slow-job", "inline-job", "file-job"],
        "left": ["inline-job", "file-job"],
    }
