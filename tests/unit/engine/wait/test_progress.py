"""The log of a wait: each change, and now and then how far."""

from __future__ import annotations

from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, JobStats
from airflow_gemini_batch.engine.wait.progress import Progress, in_short


def job(name: str, state: JobState, done: int = 0) -> Job:
    stats = JobStats(total=10, succeeded=done, pending=10 - done)
    return Job(f"batches/{name}", state, wire_state=f"BATCH_STATE_{state.value}", stats=stats)


def test_a_job_that_changes_its_state_gets_a_line() -> None:
    progress = Progress()
    progress.lines([job("a", JobState.PENDING)], now=0)

    lines = progress.lines([job("a", JobState.RUNNING, done=4)], now=1)

    assert lines == ["batches/a BATCH_STATE_RUNNING, 4 of 10 requests done (was BATCH_STATE_PENDING)"]


def test_jobs_that_go_on_are_reported_now_and_then() -> None:
    progress = Progress(every=600)
    looks = [progress.lines([job("a", JobState.RUNNING, done=now // 300)], now=now) for now in range(0, 1_300, 30)]

    assert [lines for lines in looks if lines] == [
        ["batches/a BATCH_STATE_RUNNING, 0 of 10 requests done"],
        ["batches/a BATCH_STATE_RUNNING, 2 of 10 requests done"],
        ["batches/a BATCH_STATE_RUNNING, 4 of 10 requests done"],
    ]


def test_many_jobs_are_told_in_one_line() -> None:
    jobs = [job("a", JobState.RUNNING, done=4), job("b", JobState.PENDING), job("c", JobState.RUNNING, done=1)]

    assert in_short(jobs) == "3 jobs: 1 PENDING, 2 RUNNING; 5 of 30 requests done"


def test_requests_that_failed_are_counted() -> None:
    stats = JobStats(total=1000, succeeded=0, failed=1000)
    failed = Job("batches/a", JobState.SUCCEEDED, wire_state="BATCH_STATE_SUCCEEDED", stats=stats)

    assert in_short([failed]) == "batches/a BATCH_STATE_SUCCEEDED, 1000 of 1000 requests done, 1000 of them failed"
    assert in_short([failed, job("b", JobState.RUNNING, done=1)]).endswith("requests done, 1000 of them failed")


def test_nothing_seen_is_nothing_to_say() -> None:
    assert Progress().lines([], now=0) == []
