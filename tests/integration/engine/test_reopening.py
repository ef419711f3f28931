"""Dead letters of a finished run are resubmitted into the same tables, once, whatever crashes on the way."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, RowFault
from airflow_gemini_batch.engine.api import collect, redrive
from airflow_gemini_batch.engine.errors import BalanceError, DestinationError, InputError, RefusedError
from airflow_gemini_batch.engine.finish.plans import Plan
from airflow_gemini_batch.engine.finish.reopening import reopen
from airflow_gemini_batch.engine.finish.selection import Selection
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.storage import locate
from tests.integration.engine.conftest import SHORT_WAITS, creates, read, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
OPTIONS = SHORT_WAITS.as_dict() | {"max_dead_letter_ratio": 1.0}


@pytest.fixture
def finished(go: Go, emulator: Emulator, tmp_path: Path) -> Path:
    """12 rows in three shards: k1 and k6 have a retryable error, k7 and k11 have not, k2 never became a request."""
    emulator.faults.add(
        RowFault(do="error", keys=("k1", "k6"), code=13, message="try again"),
        RowFault(do="error", keys=("k7", "k11"), code=3, message="bad request"),
    )
    rows = table(12).to_pydict()
    rows["body"][2] = None
    summary = go(source=pa.table(rows), max_dead_letter_ratio=1.0, keep_response=False)
    assert summary.dead_letter == 5
    emulator.faults.clear()
    return tmp_path / "run"


def keys(tmp_path: Path, name: str) -> list[str]:
    return sorted(row["key"] for row in read(tmp_path, name))


@pytest.mark.parametrize(
    ("selection", "redriven"),
    [
        ({}, ["k1", "k6"]),
        ({"reasons": ["REQUEST_ERROR"]}, ["k1", "k11", "k6", "k7"]),
        ({"keys": ["k11"]}, ["k11"]),
        ({"keys": ["k1", "k7"], "reasons": ["REQUEST_ERROR"]}, ["k1", "k7"]),
        ({"reasons": ["JOB_CANCELLED"]}, []),
        ({"reasons": ["INVALID_INPUT"]}, []),
    ],
    ids=str,
)
def test_the_selected_dead_letters_become_results(
    selection: dict[str, Any], redriven: list[str], finished: Path, endpoint: Endpoint, emulator: Emulator, tmp_path: Path
) -> None:
    before, jobs = read(tmp_path, "results"), len(creates(emulator))

    summary = redrive(str(finished), **selection, options=OPTIONS, endpoint=endpoint)

    assert (summary.rows, summary.results, summary.dead_letter) == (12, 7 + len(redriven), 5 - len(redriven))
    after = read(tmp_path, "results")
    assert [row for row in after if row["key"] not in redriven] == before
    assert sorted(row["key"] for row in after if row["attempt"] == 1) == redriven
    assert not set(keys(tmp_path, "dead_letter")) & set(redriven)
    assert all(row["body"] == f"number {row['key'][1:]}" for row in after if row["key"] in redriven)
    assert ds.dataset(finished / "results").schema == ds.dataset(sorted((finished / "results").glob("*-0.parquet"))[0]).schema
    assert len(creates(emulator)) - jobs == len({int(key[1:]) // 5 for key in redriven})
    assert Run(locate(str(finished))).summary_file.exists()


def test_rounds_follow_each_other(finished: Path, endpoint: Endpoint, emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1",), code=13))
    redrive(str(finished), options=OPTIONS, endpoint=endpoint)
    redrive(str(finished), keys=["k7"], options=OPTIONS, endpoint=endpoint)
    emulator.faults.clear()

    summary = redrive(str(finished), reasons=["REQUEST_ERROR"], options=OPTIONS, endpoint=endpoint)

    assert (summary.results, summary.dead_letter, summary.balanced) == (11, 1, True)
    assert {row["key"]: row["attempt"] for row in read(tmp_path, "results") if row["attempt"]} == {
        "k6": 1, "k7": 2, "k1": 3, "k11": 3,
    }  # fmt: skip
    assert keys(tmp_path, "dead_letter") == ["k2"]


def test_rows_that_fail_again_are_redriven_as_the_options_say(finished: Path, endpoint: Endpoint, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1", "k6"), code=13, display_name="attempt 1"))

    summary = redrive(str(finished), options=OPTIONS | {"max_redrives": 1}, endpoint=endpoint)

    assert (summary.results, summary.dead_letter) == (9, 3)


@pytest.mark.parametrize("path", ["/upload/|:batchGenerateContent", r"/batches(\?|/)", ":download"])
def test_an_interrupted_redrive_is_finished_by_collect(
    path: str, finished: Path, endpoint: Endpoint, emulator: Emulator, tmp_path: Path
) -> None:
    jobs = len(creates(emulator))
    emulator.faults.add(HttpFault(do="status", status=400, path=path))
    with pytest.raises(RefusedError):
        redrive(str(finished), options=OPTIONS, endpoint=endpoint)
    emulator.faults.clear()

    summary = collect(str(finished), options=OPTIONS | {"keep_response": False}, endpoint=endpoint)

    assert (summary.results, summary.dead_letter) == (9, 3)
    assert len(creates(emulator)) - jobs == 2


def test_the_same_call_again_continues_and_never_resubmits_twice(finished: Path, endpoint: Endpoint, emulator: Emulator) -> None:
    run, jobs = Run(locate(str(finished))), len(creates(emulator))
    selection = Selection.of(["REQUEST_ERROR"], None)
    first = reopen(run, selection, SHORT_WAITS, token="a task")
    recorded = [Ledger(run).redrive(shard.id) for shard in run.built().shards]

    assert reopen(run, selection, SHORT_WAITS, token="a task") == first
    assert [Ledger(run).redrive(shard.id) for shard in run.built().shards] == recorded
    summary = collect(str(finished), options=first, endpoint=endpoint)
    assert reopen(run, selection, SHORT_WAITS, token="a task") == first
    assert summary_of(run) == summary
    assert len(creates(emulator)) - jobs == 3


def test_a_crash_before_the_last_record_is_continued(
    finished: Path, endpoint: Endpoint, emulator: Emulator, tmp_path: Path
) -> None:
    run = Run(locate(str(finished)))
    selection = Selection.of(["REQUEST_ERROR"], None)
    reopen(run, selection, SHORT_WAITS, token="a task")
    last = run.built().shards[2]
    Ledger(run).record_redrive(last.id, (), repair=True)  # as if it had ended before this was written

    assert collect(str(finished), options=OPTIONS | {"keep_response": False}, endpoint=endpoint).dead_letter == 2
    options = reopen(run, selection, SHORT_WAITS, token="a task")

    assert summary_of(run) is None
    assert collect(str(finished), options=options, endpoint=endpoint).dead_letter == 1
    assert keys(tmp_path, "dead_letter") == ["k2"]


def test_of_callers_that_redrive_at_the_same_instant_one_pays(
    finished: Path, endpoint: Endpoint, emulator: Emulator, tmp_path: Path
) -> None:
    jobs = len(creates(emulator))
    together = threading.Barrier(4)

    def call(_: int) -> Summary | Exception:
        together.wait()
        try:
            return redrive(str(finished), reasons=["REQUEST_ERROR"], options=OPTIONS, endpoint=endpoint)
        except (InputError, BalanceError) as error:  # refused, or called after the other one had finished: nothing is selected
            return error

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(call, range(4)))

    assert any(isinstance(outcome, Summary) for outcome in outcomes), outcomes
    assert collect(str(finished), options=OPTIONS | {"keep_response": False}, endpoint=endpoint).dead_letter == 1
    assert Counter(keys(tmp_path, "results")) == Counter(f"k{number}" for number in range(12) if number != 2)
    assert len(creates(emulator)) - jobs == 3


def test_a_plan_that_was_never_begun_belongs_to_its_caller_until_its_lease_is_over(
    finished: Path, endpoint: Endpoint, emulator: Emulator, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    shutil.copytree(finished, before)
    selection = Selection.of(["REQUEST_ERROR"], None)
    reopen(Run(locate(str(finished))), selection, SHORT_WAITS, token="a task that died")
    shutil.copytree(finished / "_run" / "redrives", before / "_run" / "redrives")
    jobs = len(creates(emulator))

    with pytest.raises(InputError, match=r"redriven by another caller.* replaced after 360 s"):
        redrive(str(before), options=OPTIONS | {"claim_lease": 360.0}, endpoint=endpoint)
    assert summary_of(Run(locate(str(before)))) is not None

    plan = before / "_run" / "redrives" / "00001.json"
    plan.write_bytes(msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(plan.read_bytes(), type=Plan), made_at=0.0)))
    assert redrive(str(before), options=OPTIONS | {"claim_lease": 360.0}, endpoint=endpoint).dead_letter == 3
    assert len(creates(emulator)) - jobs == 2
    options = reopen(Run(locate(str(before))), selection, SHORT_WAITS, token="a task that died")  # it plans what is left
    assert collect(str(before), options=options, endpoint=endpoint).dead_letter == 1
    assert len(creates(emulator)) - jobs == 4


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"reasons": ["CANCELLED"]}, "known are .*JOB_CANCELLED.*MALFORMED_FUNCTION_CALL"),
        ({"reasons": "REQUEST_ERROR"}, "expected a list"),
        ({"keys": ["k1", "k0", "nothing"]}, r"2 keys are not dead letters of .*: 'k0', 'nothing'"),
        ({"keys": ["k1"], "reasons": ["MISSING"]}, r"1 keys are not dead letters of .* with these reasons: 'k1'"),
        ({"keys": [1]}, "expected a list of texts"),
    ],
    ids=str,
)
def test_what_cannot_be_selected_is_said_and_changes_nothing(
    selection: dict[str, Any], said: str, finished: Path, endpoint: Endpoint
) -> None:
    with pytest.raises(InputError, match=said):
        redrive(str(finished), **selection, options=OPTIONS, endpoint=endpoint)

    assert (finished / "summary.json").exists()


def test_a_run_that_is_not_finished_is_refused(finished: Path, endpoint: Endpoint, tmp_path: Path) -> None:
    (finished / "summary.json").unlink()
    with pytest.raises(InputError, match=r"is not finished.*collect"):
        redrive(str(finished), options=OPTIONS, endpoint=endpoint)
    with pytest.raises(DestinationError, match="holds no run"):
        redrive(str(tmp_path / "nothing"), options=OPTIONS, endpoint=endpoint)
