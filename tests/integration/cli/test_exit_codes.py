"""Errors become one line on stderr and an exit code, for every command."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from airflow_gemini_batch.emulator import Emulator
from tests.doc_snippets import DOCS
from tests.integration.cli.conftest import Command, job_names


def test_the_commands_of_the_docs_page_run(run: str, gemini_batch: Command) -> None:
    lines = re.findall(r"^gemini-batch ([^#\n]+)", (DOCS / "managing.md").read_text(encoding="utf-8"), re.MULTILINE)

    for line in lines:
        words = line.replace("batches/abc", job_names()[0]).replace("s3://bucket/table/", f"{run}/results")
        code, _, stderr = gemini_batch(*shlex.split(re.sub("s3://bucket/runs(/2026-11-25)?", run, words)))
        assert code == 0, (line, stderr)
    assert len(lines) >= 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cleanup", "/nowhere/at/all"), "/nowhere/at/all"),
        (("jobs", "list", "--created-after", "soon"), "created_after is 'soon'; expected a time such as"),
        (("jobs", "show", "batches/absent"), "batches/absent: 404"),
        (("files", "delete", "batches/absent"), "expected files/<id>"),
        (("webhooks", "ping", "absent"), "404"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    words: tuple[str, ...], message: str, emulator: Emulator, gemini_batch: Command
) -> None:
    code, lines, stderr = gemini_batch(*words)

    assert (code, lines, len(stderr.splitlines())) == (1, [], 1)
    assert message in stderr


@pytest.mark.parametrize("words", [("jobs", "list"), ("files", "list"), ("webhooks", "list")])
def test_a_missing_key_names_the_variables_to_set(
    words: tuple[str, ...], emulator: Emulator, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_API_KEY")

    code, _, stderr = gemini_batch(*words)

    assert code == 1
    assert "set GOOGLE_API_KEY or GEMINI_API_KEY" in stderr


def test_a_reader_that_stops_early_is_not_an_error(run: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    ended = subprocess.run(
        [sys.executable, "-m", "airflow_gemini_batch.cli", "files", "list"], stdout=writer, stderr=subprocess.PIPE, text=True
    )

    os.close(writer)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr
