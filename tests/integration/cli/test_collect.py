"""``gemini-batch collect`` and ``collect``: a run is finished from its folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_gemini_batch import DestinationError, GenerateRequest, RefusedError, Summary, collect, run_batch
from airflow_gemini_batch.emulator import Emulator, HttpFault
from tests.integration.cli.conftest import Command
from tests.integration.engine.conftest import creates

OPTIONS = {"max_shard_requests": 2, "poll_interval": 0.05, "listing_lag": 0.1}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "rows.csv"
    source.write_text("id,body\n" + "".join(f"k{number},text {number}\n" for number in range(6)))
    return source


def run(source: Path, destination: Path) -> Summary:
    request = GenerateRequest(prompt="${body}")
    return run_batch(str(source), request, model="gemini-3.6-flash", destination=str(destination), key="id", options=OPTIONS)


@pytest.fixture(params=[":batchGenerateContent", "/batches", ":download"])
def interrupted(request: pytest.FixtureRequest, source: Path, emulator: Emulator, tmp_path: Path) -> Path:
    """A run that an error ended while it submitted, waited or collected; its source is gone since."""
    emulator.faults.add(HttpFault(do="status", status=400, path=request.param, nth=2, count=1000))
    with pytest.raises(RefusedError):
        run(source, tmp_path / "run")
    emulator.faults.clear()
    source.unlink()
    return tmp_path / "run"


def test_the_command_finishes_it_and_pays_nothing_twice(interrupted: Path, gemini_batch: Command, emulator: Emulator) -> None:
    options = [word for name, value in OPTIONS.items() for word in ("--option", f"{name}={value}")]

    code, lines, _ = gemini_batch("collect", str(interrupted), *options)

    [line] = lines
    assert code == 0
    assert line.startswith("6 rows: 6 results, 0 dead letters, ")
    assert line.endswith(f", in {interrupted}")
    assert len(creates(emulator)) == 3


def test_the_function_finishes_it_and_returns_the_summary(interrupted: Path, emulator: Emulator) -> None:
    summary = collect(str(interrupted), options=OPTIONS)

    assert (summary.rows, summary.results, summary.balanced) == (6, 6, True)
    assert collect(str(interrupted), options=OPTIONS) == summary
    assert len(creates(emulator)) == 3


def test_the_same_call_finishes_it_as_it_was_built(
    interrupted: Path, source: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(source, interrupted).results == 6

    assert len(creates(emulator)) == 3
    assert "continued as it was built" in caplog.text


def test_the_summary_comes_as_json(source: Path, tmp_path: Path, gemini_batch: Command, emulator: Emulator) -> None:
    run(source, tmp_path / "run")

    code, lines, _ = gemini_batch("collect", str(tmp_path / "run"), "--json")

    assert code == 0
    assert json.loads("\n".join(lines))["results"] == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{tmp}/nothing"], "holds no run"),
        (["{tmp}/nothing", "--option", "timeout"], "expected NAME=VALUE"),
        (["{tmp}/nothing", "--option", "time_out=1"], "time_out"),
        (["{tmp}/nothing", "--option", "poll_interval=0"], "poll_interval"),
    ],
)
def test_what_cannot_work_is_one_line_and_an_exit_code(
    words: list[str], said: str, tmp_path: Path, gemini_batch: Command, emulator: Emulator
) -> None:
    code, _, error = gemini_batch("collect", *(word.format(tmp=tmp_path) for word in words))

    assert code == 1
    assert said in error


def test_a_folder_without_a_run_is_an_error(emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="holds no run"):
        collect(str(tmp_path))
