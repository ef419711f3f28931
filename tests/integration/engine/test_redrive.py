"""Failures: rows that are resubmitted, jobs that fail, get stuck or disappear, and files that are torn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, RowFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.collect.download import reland
from airflow_gemini_batch.engine.errors import CorruptRunError, NotFoundError, OutcomeUnknownError, WaitTimeoutError
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.run.cancellation import cancel_run
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from tests.integration.engine.conftest import SHORT_WAITS, creates, read, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


def keys(tmp_path: Path, name: str) -> list[str]:
    return [row["key"] for row in read(tmp_path, name)]


def test_a_row_with_a_transient_error_is_resubmitted_in_the_same_run(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1", "k7"), code=14, display_name="attempt 0"))

    summary = go(max_redrives=1)

    assert (summary.results, summary.dead_letter, summary.balanced) == (12, 0, True)
    assert {row["key"]: row["attempt"] for row in read(tmp_path, "results") if row["attempt"]} == {"k1": 1, "k7": 1}
    assert Counter((job.attempt, job.requests) for job in summary.jobs) == {(0, 5): 2, (0, 2): 1, (1, 1): 2}


def test_a_row_that_keeps_failing_is_in_dead_letter_once_with_its_last_attempt(
    go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1",), code=14), RowFault(do="safety", keys=("k2",)))

    summary = go(max_redrives=3)

    assert summary.balanced
    assert [(row["key"], row["attempt"], row["reason"]) for row in read(tmp_path, "dead_letter")] == [
        ("k1", 3, "REQUEST_ERROR"),
        ("k2", 0, "BLOCKED"),
    ]
    assert all(row["body"] for row in read(tmp_path, "dead_letter"))


def test_a_try_that_lands_a_shard_after_another_has_finished_the_run_leaves_no_row_twice(
    go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k1", "k7"), code=14, display_name="attempt 0"))
    summary = go(max_redrives=1)
    run = Run(locate(str(tmp_path / "run")))

    reland(run, run.built().shards[0])  # as another try does that was paused before it landed this shard

    assert finish_run(run) == summary
    assert len(keys(tmp_path, "results")) == 12
    assert keys(tmp_path, "dead_letter") == []


@pytest.mark.parametrize("fault", ["missing", "torn", "null_response"])
def test_rows_whose_lines_are_missing_or_torn_are_resubmitted(fault: str, go: Go, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do=fault, keys=("k3",), display_name="attempt 0"))  # type: ignore[arg-type]

    assert go(max_redrives=1).results == 12


def test_truncated_rows_are_resubmitted_only_with_a_higher_limit(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="max_tokens", keys=("k3",), display_name="attempt 0"))
    assert go(max_redrives=1).reasons == {"TRUNCATED": 1}

    summary = go(destination=str(tmp_path / "higher"), max_redrives=1, redrive_max_output_tokens=4096)

    assert summary.results == 12
    request = json.loads((tmp_path / "higher/_run/requests/shard-00000-1.jsonl").read_bytes())["request"]
    assert request["generation_config"] == {"max_output_tokens": 4096}


def test_the_rows_of_an_expired_job_are_resubmitted_in_two_smaller_ones(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="expire", display_name="shard 1 attempt 0"))

    summary = go(max_redrives=1)

    assert (summary.results, summary.balanced) == (12, True)
    assert sorted((job.shard, job.attempt, job.requests) for job in summary.jobs if job.attempt) == [(1, 1, 3), (4, 1, 2)]


def test_a_job_with_a_permanent_error_is_not_resubmitted(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="fail", error_code=3, error_message="unsupported"))

    summary = go(max_redrives=1, max_dead_letter_ratio=1.0)

    assert summary.reasons == {"JOB_FAILED": 12}
    assert len(creates(emulator)) == 3


def test_a_job_that_another_program_cancelled_keeps_its_partial_output_and_is_not_resubmitted(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="cancel", cancel_after_seconds=0.05, running_seconds=5, cancel_leaves=0.5))

    summary = go(max_redrives=1)

    assert summary.balanced
    assert summary.results > 0
    assert summary.reasons["JOB_CANCELLED"] + summary.results == 12
    assert len(creates(emulator)) == 3


def test_a_stuck_job_is_cancelled_and_its_rows_are_resubmitted_in_smaller_jobs(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang", display_name="shard 0 attempt 0"))

    summary = go(source=table(5), resubmit_stuck_after=timedelta(seconds=0.3), max_redrives=0)

    assert summary.results == 5
    assert sorted((job.attempt, job.state, job.requests) for job in summary.jobs) == [
        (0, "CANCELLED", 5),
        (1, "SUCCEEDED", 2),
        (1, "SUCCEEDED", 3),
    ]


def test_a_stuck_job_that_succeeds_after_all_is_collected_and_not_resubmitted(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(pending_seconds=1.0, cancel_is_ignored=True))

    summary = go(source=table(5), resubmit_stuck_after=timedelta(seconds=0.2))

    assert summary.results == 5
    assert len(creates(emulator)) == 1


def test_after_a_kill_the_next_call_resubmits_what_was_cancelled(
    go: Go, tmp_path: Path, client: GeminiClient, emulator: Emulator
) -> None:
    rule = emulator.faults.add(JobFault(pending_seconds=3600))[0]
    with pytest.raises(WaitTimeoutError):
        go(timeout=timedelta(seconds=0.1))
    assert len(cancel_run(Run(locate(str(tmp_path / "run"))), client, why="killed")) == 3
    emulator.faults.remove(rule)

    summary = go()

    assert (summary.results, summary.balanced) == (12, True)
    assert {job.attempt: job.state for job in summary.jobs} == {0: "CANCELLED", 1: "SUCCEEDED"}


def test_a_timeout_cancels_where_the_caller_says_so(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(pending_seconds=3600))

    with pytest.raises(WaitTimeoutError, match="were cancelled"):
        go(timeout=timedelta(seconds=0.1), cancel_on_timeout=True)

    assert len(emulator.journal("cancel")) == 3


def test_a_job_that_another_key_cannot_see_is_not_submitted_again(go: Go, emulator: Emulator, client: GeminiClient) -> None:
    emulator.faults.add(JobFault(pending_seconds=3600))
    with pytest.raises(WaitTimeoutError):
        go(timeout=timedelta(seconds=0.1))
    for job in list(client.list_jobs()):
        client.delete_job(job.name)

    with pytest.raises(NotFoundError, match="resubmit_lost=True"):
        go()
    assert len(creates(emulator)) == 3

    emulator.faults.clear()
    assert go(resubmit_lost=True, max_redrives=1).results == 12
    assert len(creates(emulator)) == 6


def test_an_output_that_has_expired_says_how_late_we_are(go: Go, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(output_lost_after_hours=48, pending_seconds=60))
    with pytest.raises(WaitTimeoutError):
        go(timeout=timedelta(seconds=0.1))
    emulator.advance(50 * 3600)

    with pytest.raises(NotFoundError, match=r"ended 5\d hours ago|kept for about 48 hours"):
        go()


def test_an_output_that_cannot_be_downloaded_now_is_downloaded_later(
    go: Go, tmp_path: Path, client: GeminiClient, emulator: Emulator
) -> None:
    rule = emulator.faults.add(HttpFault(do="status", status=503, path=":download"))[0]
    with pytest.raises(OutcomeUnknownError):
        go(collect_timeout=timedelta(0))

    state = advance(Run(locate(str(tmp_path / "run"))), client, replace(SHORT_WAITS, max_redrives=1))

    assert isinstance(state, Waiting)
    assert state.only_collecting
    assert state.until(0.0, now=1000.0) > 1000.0
    emulator.faults.remove(rule)
    assert go().results == 12


@pytest.mark.parametrize(
    "victim",
    [
        "results/part-00001-0.parquet",
        "dead_letter/part-00001-0.parquet",
        "_run/ledger/00001-0.landed.json",
        "_run/ledger/00001-0.end.json",
        "_run/ledger/00001-0.job.json",
        "_run/ledger/00001-0.redrive.json",
        "_run/ledger/00001-0.seen.json",
        "_run/responses/shard-00001-0.jsonl",
    ],
)
@pytest.mark.parametrize("damage", ["torn", "empty"])
def test_a_file_that_was_torn_by_a_power_cut_is_rewritten(
    victim: str, damage: str, go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k6",)))
    go()
    (tmp_path / "run/summary.json").unlink()
    path = tmp_path / "run" / victim
    if "responses" in victim or "end" in victim or "job" in victim:
        (tmp_path / "run/_run/ledger/00001-0.landed.json").unlink()
    content = path.read_bytes() if path.exists() else b"{}"
    path.write_bytes(content[: len(content) // 2] if damage == "torn" else b"")

    summary = go()

    assert (summary.results, summary.dead_letter, summary.balanced) == (11, 1, True)
    assert len(creates(emulator)) == 3


def test_a_torn_intent_is_taken_for_a_fresh_one(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="drop", when="after", path=":batchGenerateContent", nth=1))
    emulator.faults.add(HttpFault(do="status", status=400, path=r"/batches\?", nth=1))
    with pytest.raises(Exception, match="list batch jobs"):
        go()
    (tmp_path / "run/_run/ledger/00000-0.intent-1.json").write_bytes(b'{"tok')

    assert go().results == 12
    assert len(creates(emulator)) == 3


def test_a_part_of_another_run_in_the_place_of_ours_is_rewritten(go: Go, tmp_path: Path) -> None:
    go(source=table(12, start=100), destination=str(tmp_path / "other"))
    go()
    (tmp_path / "run/summary.json").unlink()
    name = "results/part-00001-0.parquet"
    (tmp_path / "run" / name).write_bytes((tmp_path / "other" / name).read_bytes())

    assert go().balanced
    assert "k100" not in keys(tmp_path, "results")


def test_a_file_that_cannot_be_rebuilt_is_named(go: Go, tmp_path: Path) -> None:
    go()
    (tmp_path / "run/summary.json").unlink()
    (tmp_path / "run/_run/inputs/shard-00001-0.arrow").write_bytes(b"ARROW1 and no more")

    with pytest.raises(CorruptRunError, match=r"inputs/shard-00001-0\.arrow"):
        go()


def test_no_more_jobs_than_allowed_over_all_tasks_that_submit(
    go: Go, tmp_path: Path, client: GeminiClient, emulator: Emulator
) -> None:
    from airflow_gemini_batch.engine.errors import QuotaError
    from airflow_gemini_batch.engine.submit.submission import Submission

    emulator.faults.add(JobFault(pending_seconds=3600))
    with pytest.raises(WaitTimeoutError):
        go(max_active_jobs=1, timeout=timedelta(seconds=0.1))
    run = Run(locate(str(tmp_path / "run")))
    submission = Submission(run, run.built(), client, replace(SHORT_WAITS, max_active_jobs=2))

    submission.submit(run.built().shards[1])
    with pytest.raises(QuotaError, match="max_active_jobs is 2"):
        submission.submit(run.built().shards[2])
    emulator.advance(2 * 3600)

    submission.submit(run.built().shards[2])


def test_the_quota_that_was_hit_is_named(
    go: Go, emulator: Emulator, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.faults.add(HttpFault(do="status", status=429, path="/upload/"))

    with pytest.raises(WaitTimeoutError):
        go(timeout=timedelta(seconds=0.1))

    assert "This run has 0 jobs active and 3 to come" in caplog.text
