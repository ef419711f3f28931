"""The command line of the emulator."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from airflow_gemini_batch.emulator import EmulatorProcess
from airflow_gemini_batch.emulator.cli import add_emulator_command, main
from airflow_gemini_batch.emulator.options import Options

ROOT = Path(__file__).parents[3]


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_emulator_command(parser.add_subparsers())
    return parser


def get(url: str, key: str) -> int:
    return httpx.get(f"{url}/v1/batches", headers={"x-goog-api-key": key}, trust_env=False).status_code


@pytest.mark.parametrize("way", ["environment", "file"])
def test_the_command_serves_until_it_is_stopped(tmp_path, way: str):
    command = [sys.executable, "-m", "airflow_gemini_batch.emulator", "--port", "0", "--state", str(tmp_path / "state")]
    environment = dict(os.environ)
    if way == "file":
        (tmp_path / "keys").write_text("# keys\n\nmine\nyours=x\n")
        command += ["--keys-file", str(tmp_path / "keys")]
    else:
        environment["GEMINI_EMULATOR_KEYS"] = "mine"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        answers = get(url, "mine"), get(url, "other")
        about = httpx.get(f"{url}/emulator", trust_env=False)
        process.send_signal(signal.SIGTERM)

    assert answers == (200, 400)
    assert "mine" not in about.text
    assert process.returncode in (0, -signal.SIGTERM)


def test_the_address_can_be_read_as_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airflow_gemini_batch.emulator", "--port", "0", "--state", str(tmp_path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        answer = get(url, "any")
        process.send_signal(signal.SIGTERM)

    assert answer == 200


def test_a_child_process_gets_its_keys_outside_of_its_arguments(tmp_path):
    with EmulatorProcess(tmp_path, keys=("secret-1", "secret-2=other"), control_hosts=("a.test", "b.test")) as child:
        [arguments] = [
            text
            for file in Path("/proc").glob("[0-9]*/cmdline")
            if (text := _read(file)) and str(tmp_path) in text and "airflow_gemini_batch.emulator" in text
        ]

        assert (get(child.url, "secret-1"), get(child.url, "secret-2"), get(child.url, "secret-3")) == (200, 200, 400)
        assert child.about()["options"]["control_hosts"] == ["a.test", "b.test"]
    assert "secret" not in arguments


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:  # the process has ended
        return ""


@pytest.mark.parametrize("arguments", [["--key", "AIza-secret"], ["--key=AIza-secret"]])
def test_a_key_in_the_arguments_is_refused_and_not_repeated(arguments: list[str], capsys):
    with pytest.raises(SystemExit):
        main(arguments)

    printed = capsys.readouterr().err
    assert "use --keys-file or GEMINI_EMULATOR_KEYS" in printed
    assert "AIza" not in printed


@pytest.mark.parametrize(("text", "reason"), [(None, "cannot read"), ("\n# none\n", "has no keys")])
def test_a_keys_file_without_keys_is_a_one_line_error(tmp_path, capsys, text: str | None, reason: str):
    if text is not None:
        (tmp_path / "keys").write_text(text)

    with pytest.raises(SystemExit):
        main(["--keys-file", str(tmp_path / "keys")])

    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_a_key_with_a_comma_is_refused():
    with pytest.raises(ValueError, match="an API key has no comma"):
        Options(keys=("a,b",))


def test_the_help_shows_no_key(monkeypatch, capsys):
    monkeypatch.setenv("GEMINI_EMULATOR_KEYS", "AIza-secret")

    with pytest.raises(SystemExit):
        main(["--help"])

    assert "AIza" not in capsys.readouterr().out


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
