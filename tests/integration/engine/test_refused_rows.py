"""A request that the service refuses is one dead letter; the other rows are sent, paid once and collected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import RefusedError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import RawRequest
from airflow_gemini_batch.engine.submit.refused_rows import refused_rows
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import KEY, MODEL, SHORT_WAITS, creates, read

pytestmark = pytest.mark.integration


def request_of(number: int, bad: bool) -> str:
    request: dict[str, Any] = {"contents": [{"parts": [{"text": f"number {number}"}]}]}
    return json.dumps({**request, "temperature": 1} if bad else request)


def build(folder: Path, rows: int, bad: set[int]) -> Run:
    table = pa.table({
        "id": [f"k{number}" for number in range(rows)],
        "request": [request_of(number, number in bad) for number in range(rows)],
    })  # fmt: skip
    run = Run(locate(str(folder / "run")))
    build_run(run, RunSpec(table, RawRequest(column="request"), MODEL, key="id"), SHORT_WAITS)
    return run


def finish(run: Run, client: GeminiClient, emulator: Emulator, **options: Any) -> Summary:
    given = BatchOptions(**{**SHORT_WAITS.as_dict(), "max_dead_letter_ratio": 1.0, **options})
    for _ in range(8):
        state = advance(run, client, given, patient=True)
        if isinstance(state, Summary):
            return state
        emulator.wait_idle()
    raise AssertionError("the run does not end")


@pytest.mark.parametrize("transport", ["file", "inline"])
@pytest.mark.parametrize("bad", [{2}, {0}, {4}, {0, 4}, {7, 8, 9}, {1, 6, 11}, set(range(5)), set(range(12))], ids=str)
def test_the_refused_rows_are_dead_letters_and_the_others_are_sent(
    bad: set[int], transport: str, client: GeminiClient, emulator: Emulator, tmp_path: Path
) -> None:
    summary = finish(build(tmp_path, 12, bad), client, emulator, transport=transport)

    assert {row["key"] for row in read(tmp_path, "results")} == {f"k{number}" for number in range(12) if number not in bad}
    dead_letters = read(tmp_path, "dead_letter")
    assert {row["key"] for row in dead_letters} == {f"k{number}" for number in bad}
    assert {row["reason"] for row in dead_letters} <= {"INVALID_INPUT"}
    assert all("temperature" in row["message"] and not row["retryable"] for row in dead_letters)
    assert all(json.loads(row["request"])["temperature"] == 1 for row in dead_letters)
    assert summary.balanced
    shards_with_good_rows = sum(bool(set(range(start, min(start + 5, 12))) - bad) for start in (0, 5, 10))
    assert len(creates(emulator)) == shards_with_good_rows


@pytest.mark.parametrize("transport", ["file", "inline"])
def test_after_a_crash_the_refused_rows_stay_out(
    transport: str, client: GeminiClient, emulator: Emulator, tmp_path: Path
) -> None:
    run = build(tmp_path, 4, {2})
    options = BatchOptions(**{**SHORT_WAITS.as_dict(), "transport": transport})
    emulator.faults.add(HttpFault(do="status", status=400, body="cut off by a proxy", path=":batchGenerateContent", nth=2))
    emulator.faults.add(HttpFault(do="status", status=400, method="GET", path=r"/batches(\?|$)"))
    with pytest.raises(Exception, match="Could not"):
        advance(run, client, options)
    emulator.faults.clear()
    assert set(Ledger(run).refused(run.built().shards[0].id)) == {"k2"}

    summary = finish(run, client, emulator, transport=transport)

    assert (summary.results, summary.dead_letter) == (3, 1)
    assert len(creates(emulator)) == 1


def test_a_refusal_that_names_no_row_names_the_shard(client: GeminiClient, emulator: Emulator, tmp_path: Path) -> None:
    run = build(tmp_path, 3, set())
    emulator.faults.add(HttpFault(do="status", status=400, path=":batchGenerateContent"))

    with pytest.raises(RefusedError, match=r"^Shard 00000-0: Could not create a batch job"):
        advance(run, client, SHORT_WAITS)


def test_a_run_of_refused_rows_alone_waits_for_nothing(client: GeminiClient, emulator: Emulator, tmp_path: Path) -> None:
    waiting = advance(build(tmp_path, 3, {0, 1, 2}), client, SHORT_WAITS)

    assert isinstance(waiting, Waiting)
    assert (waiting.jobs, waiting.retry_in) == ((), 0.0)


LINE, OTHER = "Error on line 1: invalid JSON, near column 9: no such field: 'x'", "Error on line 3: bad\nwith more words"
UNKNOWN = "Unknown name \"x\" at 'batch.input_config.requests.requests[1].request': Cannot find field."


@pytest.mark.parametrize(
    ("message", "rows"),
    [
        (LINE, {"a": LINE}),
        (f"{LINE}\n{OTHER}", {"a": LINE, "c": OTHER.replace("\n", r"\n")}),
        (UNKNOWN, {"b": UNKNOWN}),
        (f"Invalid JSON payload received.\n{UNKNOWN}\nat 'requests[2]'", {"b": UNKNOWN, "c": "at 'requests[2]'"}),
        ("Error on line 4: beyond the file", {}),
        ("Error on line 0: no line has this number", {}),
        ("The model does not exist", {}),
        ("", {}),
    ],
)
def test_rows_are_read_from_the_services_words(message: str, rows: dict[str, str]) -> None:
    assert refused_rows(RefusedError("…", code=400, service_message=message), ["a", "b", "c"]) == rows


def test_words_with_control_characters_or_the_key_are_never_kept_as_they_are(
    client: GeminiClient, emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = build(tmp_path, 3, set())
    words = f"Error on line 2: no such field: '{KEY}' \x1b[31m\u202e"
    error = {"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}
    emulator.faults.add(HttpFault(do="status", status=400, body=error, path=":batchGenerateContent", count=1))

    assert finish(run, client, emulator).dead_letter == 1

    kept = [file for file in tmp_path.rglob("run/**/*") if file.is_file()]
    assert not [file for file in kept if KEY.encode() in file.read_bytes() or b"\x1b[31m" in file.read_bytes()]
    assert KEY not in caplog.text
    assert "\x1b" not in caplog.text
    [row] = read(tmp_path, "dead_letter")
    assert row["message"].endswith(r"'[API key]' \x1b[31m\u202e")


@pytest.mark.parametrize("code", [403, 404, 413])
def test_only_a_bad_request_names_rows(code: int) -> None:
    assert refused_rows(RefusedError("…", code=code, service_message="Error on line 1: x"), ["a"]) == {}
