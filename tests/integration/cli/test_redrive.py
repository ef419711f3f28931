"""``gemini-batch redrive``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_gemini_batch import GenerateRequest, run_batch
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine import api
from tests.integration.cli.conftest import Command

OPTIONS = {"poll_interval": 0.05, "listing_lag": 0.1, "max_redrives": 0}


@pytest.fixture
def run(emulator: Emulator, tmp_path: Path) -> str:
    """A finished run with two dead letters, the second not retryable."""
    emulator.faults.add(RowFault(do="error", keys=("1",), code=13), RowFault(do="error", keys=("2",), code=3))
    run_batch(
        pa.table({"body": ["a", "b", "c"]}),
        GenerateRequest(prompt="${body}"),
        model="gemini-3.6-flash",
        destination=str(tmp_path / "run"),
        options=OPTIONS,
    )
    emulator.faults.clear()
    return str(tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "results"),
    [([], 2), (["--reason", "REQUEST_ERROR"], 3), (["--key", "2"], 2), (["--reason", "MISSING"], 1)],
    ids=str,
)
def test_the_selected_dead_letters_are_resubmitted(words: list[str], results: int, run: str, gemini_batch: Command) -> None:
    options = [word for name, value in OPTIONS.items() for word in ("--option", f"{name}={value}")]

    code, lines, _ = gemini_batch("redrive", run, *words, *options)

    [line] = lines
    assert code == 0
    assert line.startswith(f"3 rows: {results} results, {3 - results} dead letters, ")
    assert line.endswith(f", in {run}")


def test_after_ctrl_c_collect_finishes_the_run(run: str, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [word for name, value in OPTIONS.items() for word in ("--option", f"{name}={value}")]

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(api, "wait", interrupt)
        code, _, error = gemini_batch("redrive", run, "--reason", "REQUEST_ERROR", *options)
    again, _, refused = gemini_batch("redrive", run, "--reason", "REQUEST_ERROR", *options)

    [command] = re.findall("finish the run with: gemini-batch (.*)\\.", error)
    finished, lines, _ = gemini_batch(*shlex.split(command), *options)
    assert (code, again, finished) == (130, 1, 0)
    assert "not finished" in refused
    assert lines[0].startswith("3 rows: 3 results, 0 dead letters, ")


def test_an_unknown_reason_is_one_line(run: str, gemini_batch: Command) -> None:
    code, _, error = gemini_batch("redrive", run, "--reason", "BROKEN")

    assert code == 1
    assert "'BROKEN'; known are" in error
