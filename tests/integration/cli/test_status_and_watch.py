"""``gemini-batch status`` and ``gemini-batch watch``: where runs stand, read from their folders alone."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pyarrow as pa
import pytest
from rich.console import Console

from airflow_gemini_batch import GenerateRequest
from airflow_gemini_batch.cli import watch
from airflow_gemini_batch.cli.boards import dead_letters_of, picture_of
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.report.board import Board, read_board
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from tests.integration.cli.conftest import Command

#: Seconds on the service's clock.
JOB_SECONDS = 3600.0

PRICES = {"gemini-3.6-flash": {"input": 100.0, "output": 200.0}}
OPTIONS = BatchOptions(poll_interval=0.05, max_redrives=0, max_shard_requests=2, max_active_jobs=2, prices=PRICES)

#: What must not act on a terminal.
EVIL = "\x1b[31mred\x1b[0m\u202e"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A service that nobody who only reads can reach: the address in the environment is wrong."""
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=JOB_SECONDS) as service:
        service.faults.add(RowFault(do="error", keys=("k1",), code=3, message="no"))
        yield service


#: Takes a run one step further, and says whether it is finished now.
Step = Callable[[Run], None]


@pytest.fixture
def step(service: Emulator) -> Step:
    def step(run: Run) -> None:
        with GeminiClient(Endpoint(api_key="AIzaAnyKey", base_url=service.url)) as client:
            advance(run, client, OPTIONS, patient=True)
        service.advance(JOB_SECONDS + 60)
        service.wait_idle()

    return step


def build(folder: Path, rows: int = 6, **labels: str) -> Run:
    table = pa.table({"id": [f"k{number}" for number in range(rows)], "body": ["text"] * rows})
    run = Run(locate(str(folder)))
    request = GenerateRequest(prompt="Repeat: ${body} ${id}")
    build_run(run, RunSpec(table, request, "gemini-3.6-flash", key="id", labels=labels), OPTIONS)
    return run


@pytest.fixture
def half(tmp_path: Path, step: Step) -> Run:
    """A run of three jobs: two have landed, the third goes on."""
    run = build(tmp_path / "lake" / "half", team="search", note="[bold]x[/bold]")
    step(run)
    with pytest.MonkeyPatch.context() as patch:  # the third job is created, and not ended
        patch.setattr(Emulator, "advance", lambda *_: None)
        step(run)
    return run


def test_a_run_that_goes_on_at_one_look(half: Run, gemini_batch: Command) -> None:
    code, lines, _ = gemini_batch("status", half.destination.uri)

    facts = dict(line.split(maxsplit=1) for line in lines if not line.startswith("dead letters"))
    assert code == 0
    assert facts["state"] == "running"
    assert facts["rows"] == "4 of 6 done (66.7 %)"
    assert facts["shards"] == "1 pending, 2 landed"
    assert "rows/" in facts["rate"]
    assert " left" in facts["rate"]
    assert facts["cost"].startswith("$")
    assert " so far, $" in facts["cost"]
    assert " expected (given, " in facts["cost"]
    assert "dead letters  1: REQUEST_ERROR 1" in lines


def test_everything_that_is_known_as_json(half: Run, gemini_batch: Command) -> None:
    _, lines, _ = gemini_batch("status", half.destination.uri, "--json")

    board = json.loads("\n".join(lines))
    assert (board["state"], board["done"], board["states"]) == ("running", 4, {"pending": 1, "landed": 2})
    assert len(board["shards"]) == 3
    assert board["labels"]["team"] == "search"


def test_a_folder_without_a_run_is_one_line(tmp_path: Path, gemini_batch: Command) -> None:
    for command in ("status", "watch"):
        code, lines, error = gemini_batch(command, str(tmp_path / "nothing"))

        assert (code != 0, lines, error.count("\n")) == (True, [], 1)
    assert error.startswith("There is no run at or below ")


@pytest.fixture
def stepping(monkeypatch: pytest.MonkeyPatch, step: Step) -> Callable[..., list[float]]:
    """Each time that the command would sleep, these runs are taken a step further instead."""

    def stepping(*runs: Run) -> list[float]:
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            for run in runs:
                step(run)

        monkeypatch.setattr(watch, "time", SimpleNamespace(time=time.time, sleep=sleep))
        return slept

    return stepping


def test_a_run_is_watched_until_it_is_finished(
    tmp_path: Path, stepping: Callable[..., list[float]], gemini_batch: Command
) -> None:
    run = build(tmp_path / "run")
    slept = stepping(run)

    code, lines, _ = gemini_batch("watch", run.destination.uri, "--interval", "7")

    assert code == 0
    assert set(slept) == {7.0}
    uri = run.destination.uri
    assert lines[0] == f"{uri}: 0 % (0 of 6) · 0 of 3 jobs done"
    assert lines[1].startswith(f"{uri}: 66 % (4 of 6) · 2 of 3 jobs done")
    assert lines[-1].startswith(f"{uri}: finished · 6 of 6 rows done · shards: 3 landed · dead letters: 1 (REQUEST_ERROR 1) · $")
    assert len(lines) == 3


def test_all_runs_below_a_folder_are_watched(tmp_path: Path, stepping: Callable[..., list[float]], gemini_batch: Command) -> None:
    runs = [build(tmp_path / "lake" / name / "x", rows) for name, rows in (("a", 2), ("b", 6))]
    stepping(*runs)

    code, lines, _ = gemini_batch("watch", str(tmp_path / "lake"), "--interval", "0.1")

    assert code == 0
    ended = [line.partition(": finished")[0] for line in lines if ": finished · " in line]
    assert ended == [run.destination.uri for run in runs]


def test_one_line_of_json_at_each_look(tmp_path: Path, stepping: Callable[..., list[float]], gemini_batch: Command) -> None:
    run = build(tmp_path / "lake" / "a")
    slept = stepping(run)

    _, lines, _ = gemini_batch("watch", str(tmp_path / "lake"), "--json")

    looks = [json.loads(line)["runs"] for line in lines]
    assert len(looks) == len(slept) + 1
    assert [[one["state"] for one in look] for look in looks] == [["running"]] * len(slept) + [["finished"]]
    assert [look[0]["done"] for look in looks][-2:] == [4, 6]
    assert looks[-1][0]["reasons"] == {"REQUEST_ERROR": 1}
    assert looks[-1][0]["usd"] > 0


def test_a_run_that_cannot_be_read_for_a_while_keeps_its_board(
    half: Run, step: Step, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = build(Path(half.destination.path).parent / "other", 2)
    manifest = half.manifest_file.read()
    looks: list[int] = []

    def sleep(_: float) -> None:
        looks.append(1)
        half.manifest_file.write(b"torn" if len(looks) == 1 else manifest)
        if len(looks) > 1:
            step(half)
        step(other)

    monkeypatch.setattr(watch, "time", SimpleNamespace(time=time.time, sleep=sleep))

    code, lines, _ = gemini_batch("watch", str(Path(half.destination.path).parent), "--json")

    seen = [{Path(one["destination"]).name: one["done"] for one in json.loads(line)["runs"]} for line in lines]
    assert code == 0
    assert [look["half"] for look in seen][:2] == [4, 4]
    assert seen[-1] == {"half": 6, "other": 2}


def test_discarded_dead_letters_are_counted(run: str, gemini_batch: Command) -> None:
    board = msgspec.structs.replace(board_of(Run(locate(run))), dead_letter=3, reasons={"EMPTY": 3}, discarded=2)

    assert dead_letters_of(board) == "3: EMPTY 3; 2 discarded"


def test_on_a_terminal_the_board_stays_when_the_runs_are_finished(run: str) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "airflow_gemini_batch.cli", "watch", run]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as watching:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # how the end of a terminal is told
            while piece := os.read(ours, 1 << 16):
                written += piece
    os.close(ours)

    assert watching.returncode == 0
    assert "━" in written.decode()
    assert b"3 rows, 3 results" in written
    assert b"\x1b[2K" in written  # drawn in place


def drawn(*boards: Board, width: int = 100) -> str:
    console = Console(width=width, force_terminal=True, color_system="truecolor", record=True, file=io.StringIO())
    console.print(picture_of(boards))
    return console.export_text(styles=False)


def board_of(run: Run) -> Board:
    board = read_board(run)
    assert board is not None
    return board


def test_the_board_of_one_run_on_a_terminal(half: Run) -> None:
    board = board_of(half)
    text = drawn(msgspec.structs.replace(board, labels={**board.labels, "evil": EVIL}))

    assert "4 of 6 done (66.7 %)" in text
    assert "━" in text
    assert "1: REQUEST_ERROR 1" in text
    assert any(line.split()[:2] == ["2", "pending"] for line in text.splitlines())
    assert "evil=\\x1b[31mred\\x1b[0m\\u202e" in text
    assert "[bold]x[/bold]" in text


@pytest.mark.parametrize("width", [40, 100, 200])
def test_the_board_of_many_runs_on_a_terminal(half: Run, width: int) -> None:
    board = board_of(half)
    many = [board, *(msgspec.structs.replace(board, destination=f"s3://bucket/{n}", state="finished") for n in range(40))]

    text = drawn(*many, width=width)

    assert max(map(len, text.splitlines())) <= width
    assert "40 of 41 runs finished" in " ".join(text.split())
    assert "16 runs not shown" in " ".join(text.split())


@pytest.mark.parametrize("interval", ["0", "-1", "x", "1e9"])
def test_an_interval_that_is_none_is_refused(interval: str, gemini_batch: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        gemini_batch("watch", "somewhere", "--interval", interval)

    assert "--interval" in capsys.readouterr().err
