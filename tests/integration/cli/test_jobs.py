"""``gemini-batch jobs``, ``files`` and ``cleanup``, as somebody types them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_gemini_batch import cli
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from airflow_gemini_batch.engine.api import run_batch
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.doc_snippets import DOCS


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        monkeypatch.setenv("GOOGLE_API_KEY", "AIzaAnyKey")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
        yield emulator


@pytest.fixture
def run(emulator: Emulator, tmp_path: Path) -> str:
    """A finished run of two jobs, whose input files are still there."""
    emulator.faults.add(HttpFault(do="status", status=400, method="DELETE", path="/files/"))
    run_batch(
        pa.table({"body": ["a", "b", "c"]}),
        GenerateRequest(prompt="${body}"),
        model="gemini-3.6-flash",
        destination=str(tmp_path / "run"),
        max_shard_requests=2,
        poll_interval=0.05,
    )
    emulator.faults.clear()
    return str(tmp_path / "run")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], str]]:
    def say(*words: str) -> tuple[int, list[str], str]:
        code = cli.main(words)
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return say


def jobs(*states: str) -> list[str]:
    with GeminiClient(Endpoint()) as client:
        return [job.name for job in client.list_jobs() if not states or job.state.value in states]


def test_the_commands_of_the_page_run(run: str, say: Callable[..., tuple]) -> None:
    lines = re.findall(r"^gemini-batch ([^#\n]+)", (DOCS / "managing.md").read_text(encoding="utf-8"), re.MULTILINE)

    for line in lines:
        code, _, beside = say(*line.replace("batches/abc", jobs()[0]).replace("s3://bucket/runs", run).split())
        assert code == 0, (line, beside)
    assert len(lines) >= 6


def test_a_list_in_a_pipe_is_lines_of_fields_and_the_rest_is_said_beside_it(run: str, say: Callable[..., tuple]) -> None:
    code, lines, beside = say("jobs", "list", "--state", "succeeded", "--created-after", "1h", "--limit", "1")

    assert code == 0
    name, state, _, done, failed, model, display_name = lines[0].split("\t")
    assert (name in jobs(), state, done, failed, model) == (True, "SUCCEEDED", "1/1", "", "gemini-3.6-flash")
    assert display_name.endswith("shard 1 attempt 0")
    assert (len(lines), beside) == (1, "2 jobs; 1 not shown (--limit)\n")


def test_a_job_is_shown_with_what_there_is_to_say(run: str, say: Callable[..., tuple]) -> None:
    code, lines, _ = say("jobs", "show", jobs()[0])

    assert code == 0
    assert {line.split()[0] for line in lines} >= {"name", "state", "requests", "succeeded", "input_file", "output_file"}


def test_jobs_are_cancelled_and_deleted_and_one_that_fails_does_not_keep_the_others(
    emulator: Emulator, run: str, say: Callable[..., tuple]
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    with GeminiClient(Endpoint()) as client:
        file = next(file.name for file in client.list_files() if not file.is_output)
        hanging = client.create_job(model="gemini-3.6-flash", input_file=file, display_name="[red]mine").name
    ended = jobs("SUCCEEDED")[0]

    code, lines, beside = say("jobs", "delete", hanging, ended)
    assert (code, lines) == (1, [f"{ended} deleted"])
    assert "is active" in beside
    code, lines, _ = say("jobs", "cancel", hanging)
    assert code == 0
    assert lines[0].startswith(f"{hanging} BATCH_STATE_CANCELLED")
    assert say("jobs", "delete", hanging)[:2] == (0, [f"{hanging} deleted"])
    assert len(jobs()) == 1


def test_files_are_listed_and_deleted(run: str, say: Callable[..., tuple]) -> None:
    _, lines, beside = say("files", "list")
    output = next(line.split("\t")[0] for line in lines if "output" in line)
    ours = next(line.split("\t")[0] for line in lines if "output" not in line)

    assert beside.startswith("4 files, ")
    assert say("files", "delete", ours, output)[:2] == (0, [f"{ours} deleted", f"{output} undeletable"])


def test_a_cleanup_is_rehearsed_and_done(run: str, say: Callable[..., tuple]) -> None:
    code, lines, _ = say("cleanup", run, "--older-than", "0s", "--dry-run")
    assert code == 0
    assert len(jobs()) == 2
    assert "jobs would be deleted: 2" in lines
    code, lines, _ = say("cleanup", run, "--older-than", "0s")

    assert code == 0
    assert lines[0] == "runs: 1 finished, 0 left alone because they are not"
    assert {"jobs deleted: 2", "output files that only the service can delete: 2"} <= set(lines)
    assert jobs() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("cleanup", "/nowhere/at/all"), "There is no run at or below /nowhere/at/all."),
        (("jobs", "list", "--created-after", "soon"), "created_after is 'soon'; expected a time such as"),
        (("jobs", "show", "batches/nobody"), "Could not look at batches/nobody: 404"),
        (("files", "delete", "batches/nobody"), "expected files/<id>"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: tuple[str, ...], told: str, emulator: Emulator, say: Callable[..., tuple]
) -> None:
    code, lines, beside = say(*words)

    assert (code, lines, len(beside.splitlines())) == (1, [], 1)
    assert told in beside


def test_without_a_key_it_says_where_one_is_looked_for(say: Callable[..., tuple], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)

    code, _, beside = say("jobs", "list")

    assert code == 1
    assert "set GOOGLE_API_KEY or GEMINI_API_KEY" in beside


def test_on_a_terminal_it_is_a_table(run: str, say: Callable[..., tuple], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    _, lines, _ = say("jobs", "list")

    assert re.findall(r"[a-z]+", re.sub(r"\x1b\[[0-9;]*m", "", lines[0]))[:3] == ["name", "state", "age"]
    assert len(lines) >= 3
