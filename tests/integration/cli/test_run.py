"""``gemini-batch run``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from tests.doc_snippets import DOCS
from tests.integration.cli.conftest import Command, job_names

pytestmark = pytest.mark.integration

MODEL = "gemini-3.6-flash"
QUICK = ("--option", "poll_interval=0.05")


@pytest.fixture
def source(tmp_path: Path) -> str:
    table = pa.table({"id": ["a", "b", "c"], "body": ["one", "two", "two"], "team": ["x", "y", "z"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    return str(tmp_path / "rows.parquet")


def table_of(folder: Path, name: str = "results") -> list[dict[str, object]]:
    return pq.read_table(folder / name).to_pylist()


def test_a_table_goes_in_and_two_come_out(source: str, gemini_batch: Command, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("a",), code=3))
    words = ("--prompt", "Say ${body}", "--key", "id", "--carry", "team", "--label", "for=test", "--label", "team=a=b")

    code, lines, _ = gemini_batch("run", source, "--model", MODEL, "--destination", str(tmp_path / "out"), *words, *QUICK)

    assert code == 0
    assert lines[0].startswith("3 rows: 2 results, 1 dead letters, ")
    assert {(row["key"], row["team"]) for row in table_of(tmp_path / "out")} == {("b", "y"), ("c", "z")}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["labels"] == {"for": "test", "team": "a=b"}
    assert gemini_batch("run", source, "--model", MODEL, "--destination", str(tmp_path / "out"), *words, *QUICK)[0] == 0
    assert len(job_names()) == 1


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--prompt", "@prompt.txt", "--system", "@@home", "--config", '{"temperature": 0}'), ["@home", "one", "temperature"]),
        (("--prompt", "${body}", "--schema", "@schema.json"), ["response_json_schema", "one"]),
        (("--raw", "request"), ["whole request"]),
        (("--request", "request.json"), ["From a file: one"]),
    ],
    ids=["texts", "schema", "raw", "request"],
)
def test_the_request(
    words: tuple[str, ...],
    asked: list[str],
    gemini_batch: Command,
    tmp_path: Path,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompt.txt").write_text("Say ${body}")
    Path("schema.json").write_text('{"type": "object", "properties": {"a": {"type": "string"}}}')
    Path("request.json").write_text('{"type": "generate", "prompt": "From a file: ${body}"}')
    raw = json.dumps({"contents": [{"parts": [{"text": "whole request"}]}]})
    pq.write_table(pa.table({"body": ["one"], "request": [raw]}), "rows.parquet")

    code, _, error = gemini_batch("run", "rows.parquet", "--model", MODEL, "--destination", "out", *words, *QUICK)

    assert code == 0, error
    sent = "".join(path.read_text() for path in Path("out/_run/requests").glob("*.jsonl"))
    assert all(text in sent for text in asked), sent


def test_the_command_of_the_tutorial_runs(emulator: Emulator, tmp_path: Path) -> None:
    tutorial = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    [lines] = [block for block in re.findall(r"```bash\n(.*?)```", tutorial, re.DOTALL) if "gemini-batch run" in block]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    ended = subprocess.run(["bash", "-ec", lines], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert {row["key"] for row in table_of(tmp_path / "from-a-shell")} == {"r1", "r2"}


def test_embeddings(source: str, gemini_batch: Command, tmp_path: Path, emulator: Emulator) -> None:
    words = ("--embed", "${body}", "--config", '{"output_dimensionality": 8}', "--model", "gemini-embedding-001")

    code, _, error = gemini_batch("run", source, "--destination", str(tmp_path / "out"), *words, *QUICK)

    assert code == 0, error
    assert {len(row["embedding"]) for row in table_of(tmp_path / "out")} == {8}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--embed", "${body}", "--system", "Be brief"), "--system goes with --prompt only"),
        (("--raw", "body", "--config", "{}x"), "--config goes with --prompt and --embed only"),
        (("--prompt", "${body}", "--config", "[1]"), "--config: its value is not a JSON object but list"),
        (("--prompt", "${body}", "--schema", "@absent.json"), "--schema: absent.json cannot be read"),
        (("--prompt", "${body}", "--label", "team"), "--label is 'team'; expected NAME=VALUE"),
        (("--prompt", "${body}", "--option", "poll"), "--option is 'poll'; expected NAME=VALUE"),
        (("--prompt", "${nobody}"), "nobody"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arguments_are_one_line_and_nothing_is_sent(
    words: tuple[str, ...], message: str, source: str, gemini_batch: Command, tmp_path: Path, emulator: Emulator
) -> None:
    code, lines, error = gemini_batch("run", source, "--model", MODEL, "--destination", str(tmp_path / "out"), *words)

    assert (code, lines) == (1, [])
    assert message in error
    assert not emulator.journal()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--max-cost-usd", "0.000001"), 7),
        (("--option", "max_dead_letter_ratio=0.1"), 6),
    ],
    ids=["budget", "ratio"],
)
def test_what_happened_is_told_by_the_exit_code(
    words: tuple[str, ...], code: int, source: str, gemini_batch: Command, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="error", keys=("0",), code=3))
    prices = ("--option", f'prices={{"{MODEL}": {{"input": 1.0, "output": 4.0}}}}')
    asked = ("run", source, "--model", MODEL, "--destination", str(tmp_path / "out"), "--prompt", "${body}")

    ended, _, error = gemini_batch(*asked, *words, *prices, *QUICK)

    assert ended == code, error


def test_ctrl_c_says_how_to_resume_and_the_same_command_does(
    source: str, gemini_batch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator(tmp_path / "slow", pending_seconds=0, running_seconds=3600) as emulator:
        monkeypatch.setenv("GOOGLE_API_KEY", "AIzaAnyKey")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
        words = ["run", source, "--model", MODEL, "--destination", str(tmp_path / "out"), "--prompt", "${body}", *QUICK]
        command = [sys.executable, "-m", "airflow_gemini_batch.cli", *words]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert running.stderr is not None
        for line in running.stderr:
            if "0 of 1 jobs done" in line:
                running.send_signal(signal.SIGINT)
                break
        rest = running.communicate()[1]

        assert running.returncode == 130
        assert "run the same command again to resume" in rest
        assert "Traceback" not in rest

        emulator.advance(3700)
        code, _, error = gemini_batch(*words)
        assert code == 0, error
        assert len(job_names()) == 1
