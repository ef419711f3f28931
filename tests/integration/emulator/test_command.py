"""The command line of the emulator."""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from airflow_gemini_batch.emulator.cli import add_emulator_command, main
from airflow_gemini_batch.emulator.options import Options

ROOT = Path(__file__).parents[3]


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_emulator_command(parser.add_subparsers())
    return parser


def test_the_command_serves_until_it_is_stopped(tmp_path):
    command = [sys.executable, "-m", "airflow_gemini_batch.emulator", "--port", "0", "--state", str(tmp_path), "--key", "mine"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        mine = httpx.get(f"{url}/v1/batches", headers={"x-goog-api-key": "mine"}, trust_env=False)
        other = httpx.get(f"{url}/v1/batches", headers={"x-goog-api-key": "other"}, trust_env=False)
        about = httpx.get(f"{url}/emulator", trust_env=False)
        process.send_signal(signal.SIGTERM)

    assert (mine.status_code, other.status_code) == (200, 400)
    assert "mine" not in about.text
    assert process.returncode in (0, -signal.SIGTERM)


def test_every_option_has_a_flag(parser):
    arguments = parser.parse_args(["emulator"])

    assert all(hasattr(arguments, name) for name in Options.__slots__)


def test_options_come_from_the_environment_too(parser, monkeypatch):
    monkeypatch.setenv("GEMINI_EMULATOR_RUNNING_SECONDS", "7.5")
    monkeypatch.setenv("GEMINI_EMULATOR_KEYS", "a=one, b=two")

    options = Options.from_environment()

    assert options.running_seconds == 7.5
    assert options.projects_by_key() == {"a": "one", "b": "two"}


def test_a_folder_serves_one_emulator_at_a_time(start, tmp_path, capsys):
    start()

    assert main(["--port", "0", "--state", str(tmp_path / "state")]) == 1

    assert "Another emulator uses" in capsys.readouterr().err


def test_a_port_in_use_is_a_one_line_error(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert main(["--port", str(port), "--state", str(tmp_path)]) == 1

    assert f"Cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
