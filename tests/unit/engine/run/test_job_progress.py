"""The hint about running jobs: small, whole, and never in the way."""

from __future__ import annotations

from pathlib import Path

from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, JobStats
from airflow_gemini_batch.engine.run.job_progress import WRITE_EVERY, JobProgress, ProgressWriter, read_progress
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate


def job(name: str, done: int, state: JobState = JobState.RUNNING) -> Job:
    return Job(f"batches/{name}", state, stats=JobStats(total=100, succeeded=done, pending=100 - done))


def test_it_knows_since_when_a_job_is_in_its_state() -> None:
    progress = JobProgress().after([job("a", 0, JobState.PENDING)], now=1.0)
    progress = progress.after([job("a", 10)], now=2.0).after([job("a", 20)], now=3.0)

    seen = progress.jobs["batches/a"]
    assert (seen.state, seen.since, seen.at, progress.at) == ("RUNNING", 2.0, 3.0, 3.0)


def test_jobs_of_other_waits_are_kept() -> None:
    progress = JobProgress().after([job("a", 10)], now=1.0).after([job("b", 5)], now=2.0)

    assert sorted(progress.jobs) == ["batches/a", "batches/b"]
    assert [sample.done for sample in progress.samples] == [10, 15]


def test_of_a_standstill_only_the_ends_are_kept() -> None:
    progress = JobProgress()
    for now in range(100):
        progress = progress.after([job("a", 10)], now=float(now))

    assert [(sample.at, sample.done) for sample in progress.samples] == [(0.0, 10), (99.0, 10)]


def test_it_stays_small_and_covers_the_whole_run() -> None:
    progress = JobProgress()
    for now in range(5_000):
        progress = progress.after([job("a", now)], now=float(now))

    assert len(progress.samples) <= 240
    assert (progress.samples[0].at, progress.samples[-1].at) == (0.0, 4_999.0)


def test_it_is_written_when_a_state_changes_and_now_and_then(tmp_path: Path) -> None:
    run = Run(locate(str(tmp_path)))
    writer = ProgressWriter(run)
    writer.write([job("a", 1)], now=100.0)
    writer.write([job("a", 2)], now=101.0)
    assert read_progress(run).samples[-1].done == 1

    writer.write([job("a", 3, JobState.SUCCEEDED)], now=102.0)
    assert read_progress(run).samples[-1].done == 3

    writer.write([job("a", 4, JobState.SUCCEEDED)], now=102.0 + WRITE_EVERY)
    assert read_progress(run).samples[-1].done == 4


def test_a_torn_hint_is_none(tmp_path: Path) -> None:
    run = Run(locate(str(tmp_path)))
    (run.ledger_folder / "progress.json").write(b'{"jobs": {')

    assert read_progress(run) == JobProgress()


def test_a_storage_that_refuses_does_not_end_the_wait(tmp_path: Path) -> None:
    (tmp_path / "_run").write_text("a file where the folder should be")

    ProgressWriter(Run(locate(str(tmp_path)))).write([job("a", 1)], now=1.0)
