"""A body is a job's output only if it answers the job's rows; anything else is asked for again and never pays a row twice."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, RowFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.collect.download import fetch_output
from airflow_gemini_batch.engine.errors import CorruptRunError, OutcomeUnknownError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, JobStats
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, creates, read, table
from tests.integration.engine.scripted_server import Answer, serving

pytestmark = pytest.mark.integration


def line(key: str) -> bytes:
    return json.dumps({"key": key, "response": {"candidates": []}}).encode() + b"\n"


LINES = b"".join(map(line, ("k0", "k1", "k2")))
KEYS = {"k0", "k1", "k2"}
LOGIN_PAGE = b"<html><body>Sign in to continue</body></html>\n"
JSON_ERROR = b'{"error": {"code": 503, "message": "try later"}}\n'
OTHER_JOB = b"".join(map(line, ("x0", "x1", "x2")))
TOO_LONG = {"error": {"code": 400, "message": "File ID cannot be more than 40 characters.", "status": "INVALID_ARGUMENT"}}

WRONG = {
    "empty": b"",
    "blank": b"\n\n\n\n",
    "login page": LOGIN_PAGE,
    "login page of three lines": LOGIN_PAGE * 3,
    "json error": JSON_ERROR,
    "json error of three lines": JSON_ERROR * 3,
    "another job's output": OTHER_JOB,
    "cut within a line": LINES[:-20],
    "cut at the end of a line": LINES[: LINES.rindex(b"\n", 0, -1) + 1],
    "cut in the first line": LINES[:10],
}


def fetch(
    bodies: Sequence[bytes], target: Location, stats: JobStats, size: int | None, requests: int = 3, sha256: str | None = None
) -> None:
    remaining = list(bodies)
    described = {"name": "files/batch-a"} | ({} if sha256 is None else {"sha256Hash": base64.b64encode(sha256.encode()).decode()})
    job = Job("batches/a", JobState.SUCCEEDED, output_file="files/batch-a", stats=stats)

    def reply(method: str, path: str) -> Answer:
        if ":download" in path:
            return Answer(body=remaining.pop(0))
        return Answer(400, TOO_LONG) if size is None else Answer(body={**described, "sizeBytes": str(size)})

    with serving(reply) as script, GeminiClient(Endpoint(api_key="k", base_url=script.url)) as client:
        fetch_output(client, job, target, expected=requests, keys=KEYS)
    assert remaining == []


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("stats", [JobStats(), JobStats(total=3, succeeded=3), JobStats(total=3, succeeded=1, failed=2)])
@pytest.mark.parametrize("size", [None, len(LINES)], ids=["size unknown", "size known"])
class TestAWrongBody:
    def test_is_fetched_again(self, wrong: bytes, stats: JobStats, size: int | None, tmp_path: Path) -> None:
        target = locate(str(tmp_path / "responses"))

        fetch([wrong, LINES], target, stats, size)

        assert target.read() == LINES

    def test_is_not_kept(self, wrong: bytes, stats: JobStats, size: int | None, tmp_path: Path) -> None:
        target = locate(str(tmp_path / "responses"))

        with pytest.raises(OutcomeUnknownError, match="Nothing of it was kept"):
            fetch([wrong, wrong], target, stats, size)

        assert not target.exists()


class TestADigestThatDiffers:
    DIGEST = hashlib.sha256(LINES).hexdigest()
    CHANGED = LINES.replace(b"candidates", b"candidate5", 1)

    def test_means_another_download(self, tmp_path: Path) -> None:
        target = locate(str(tmp_path / "responses"))

        fetch([self.CHANGED, LINES], target, JobStats(), len(LINES), sha256=self.DIGEST)

        assert target.read() == LINES

    def test_strands_no_answers_if_the_download_is_the_same_twice(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        target = locate(str(tmp_path / "responses"))

        fetch([LINES, LINES], target, JobStats(), len(LINES), sha256="0" * 64)

        assert target.read() == LINES
        assert "so it is kept" in caplog.text

    def test_is_an_error_if_each_download_differs(self, tmp_path: Path) -> None:
        target = locate(str(tmp_path / "responses"))

        with pytest.raises(OutcomeUnknownError, match="the service says"):
            fetch([self.CHANGED, LINES], target, JobStats(), len(LINES), sha256="0" * 64)

        assert not target.exists()


def test_lines_that_answer_one_row_again_and_again_are_not_an_output(tmp_path: Path) -> None:
    target = locate(str(tmp_path / "responses"))

    fetch([line("k0") * 3, LINES], target, JobStats(total=3, succeeded=3), None)

    assert target.read() == LINES


@pytest.mark.parametrize("whole", [LINES, LINES[:-1], LINES.replace(b"\n", b"\r\n"), LINES + b"\n \n", LINES + OTHER_JOB + LINES])
@pytest.mark.parametrize("stats", [JobStats(), JobStats(total=3, succeeded=3)])
def test_an_output_that_is_whole_is_fetched_once_however_it_ends(whole: bytes, stats: JobStats, tmp_path: Path) -> None:
    target = locate(str(tmp_path / "responses"))

    fetch([whole], target, stats, None)

    assert target.read() == whole


def test_rows_that_the_service_left_out_of_a_whole_file_are_believed(tmp_path: Path) -> None:
    target = locate(str(tmp_path / "responses"))

    fetch([line("k1")], target, JobStats(total=3, succeeded=3), len(line("k1")))

    assert target.read() == line("k1")


@pytest.mark.parametrize("fault", ["missing", "torn"])
def test_a_row_that_the_service_never_answers_ends_as_a_dead_letter(
    fault: Any, run: Run, client: GeminiClient, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do=fault, keys=("k1",)))  # alone in its shard when it is resubmitted

    summary = passes(run, client, emulator, 5, max_redrives=2)

    assert isinstance(summary, Summary)
    assert (summary.results, summary.dead_letter) == (9, 1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(locate(str(tmp_path / "run")))
    build_run(run, RunSpec(table(10), GenerateRequest(prompt="${body}"), MODEL, key="id"), SHORT_WAITS)
    return run


def passes(run: Run, client: GeminiClient, emulator: Emulator, count: int, **options: Any) -> Waiting | Summary:
    given = BatchOptions(**{**SHORT_WAITS.as_dict(), "max_redrives": 3, **options})
    for _ in range(count):
        state = advance(run, client, given, patient=True)
        emulator.wait_idle()
    return state


@pytest.mark.parametrize("body", [LOGIN_PAGE.decode(), "", {"error": "sign in"}, {}], ids=str)
@pytest.mark.parametrize("sizes", ["known", "refused"])
def test_wrong_bodies_cost_time_and_nothing_else(
    body: Any, sizes: str, run: Run, client: GeminiClient, emulator: Emulator, tmp_path: Path
) -> None:
    if sizes == "refused":
        emulator.faults.add(HttpFault(do="status", status=400, body=TOO_LONG, method="GET", path=r"/files/batch-[^:]*$"))
    rule = emulator.faults.add(HttpFault(do="status", status=200, body=body, path=":download"))[0]
    waiting = passes(run, client, emulator, 3)
    assert isinstance(waiting, Waiting)
    assert waiting.retry_in is not None, "asked for again, with a pause"
    emulator.faults.remove(rule)

    summary = passes(run, client, emulator, 1)

    assert isinstance(summary, Summary)
    assert (summary.results, summary.dead_letter) == (10, 0)
    assert len(creates(emulator)) == 2


def test_after_the_collect_timeout_it_is_an_error_and_not_a_redrive(run: Run, client: GeminiClient, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="status", status=200, body="", path=":download"))
    passes(run, client, emulator, 1)

    with pytest.raises(OutcomeUnknownError, match="nothing is resubmitted"):
        passes(run, client, emulator, 2, collect_timeout=timedelta(seconds=0))

    assert len(creates(emulator)) == 2


def test_a_torn_inputs_file_does_not_keep_the_output_at_the_service(run: Run, client: GeminiClient, emulator: Emulator) -> None:
    passes(run, client, emulator, 1)
    first = run.built().shards[0].id
    run.inputs_file(first).write(b"torn")

    with pytest.raises(CorruptRunError):
        passes(run, client, emulator, 1)

    assert run.responses_file(first).exists()


def test_with_resubmit_lost_only_the_unanswered_rows_are_resubmitted(
    run: Run, client: GeminiClient, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.faults.add(
        RowFault(do="missing", keys=("k1",), display_name="attempt 0"),
        HttpFault(do="status", status=400, body=TOO_LONG, method="GET", path=r"/files/batch-[^:]*$"),
    )

    summary = passes(run, client, emulator, 4, collect_timeout=timedelta(seconds=0), resubmit_lost=True)

    assert isinstance(summary, Summary)
    assert summary.results == 10
    assert [row["attempt"] for row in read(tmp_path, "results")] == [int(row["key"] == "k1") for row in read(tmp_path, "results")]
