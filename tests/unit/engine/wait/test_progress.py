"""The log of a run: each change of a job, and how far the run is, at the start, at each tenth, and every ten minutes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, JobStats
from airflow_gemini_batch.engine.wait.progress import Progress, Reading, Standing, duration, in_words


def job(name: str, state: JobState, done: int = 0, *, total: int = 10) -> Job:
    stats = JobStats(total=total, succeeded=done, pending=total - done)
    return Job(f"batches/{name}", state, wire_state=f"BATCH_STATE_{state.value}", stats=stats)


def running(done: int) -> list[Job]:
    return [job("a", JobState.RUNNING, done, total=1000)]


ONE_JOB = Standing(requests=1000, done=0, jobs=1)


@pytest.mark.parametrize(
    ("reading", "rate", "line"),
    [
        (
            Reading(1_000_000, 410_000, jobs=20, jobs_done=3, running=12, usd=3.1),
            5_200 / 60,
            "41 % (410,000 of 1,000,000) · 3 of 20 jobs done, 12 running · 5,200 rows/min · about 1 h 53 min left · $3.10 so far",
        ),
        (Reading(10, 0, jobs=1, jobs_done=0, running=0), 0, "0 % (0 of 10) · 0 of 1 jobs done"),
        (
            Reading(10, 10, jobs=1, jobs_done=1, running=0, usd=0.002),
            2,
            "100 % (10 of 10) · 1 of 1 jobs done · 120 rows/min · $0.002 so far",
        ),
        (Reading(0, 0, jobs=2, jobs_done=0, running=1), 0, "0 of 2 jobs done, 1 running"),
        (
            Reading(1000, 999, jobs=1, jobs_done=0, running=1),
            0.001,
            "99 % (999 of 1,000) · 0 of 1 jobs done, 1 running · 0.06 rows/min · about 17 min left",
        ),
    ],
)
def test_the_line_says_what_is_known_and_leaves_out_the_rest(reading: Reading, rate: float, line: str) -> None:
    assert in_words(reading, rate=rate) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 min"), (89, "1 min"), (720, "12 min"), (3600, "1 h"), (6600, "1 h 50 min"), (86_400, "1 d"), (183_600, "2 d 3 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_it_speaks_at_the_start_at_each_tenth_and_every_ten_minutes() -> None:
    progress, spoken = Progress(), []
    # 50 a minute for 5 minutes, nothing for 25, then all the rest at once
    done = [*range(0, 300, 50), *[250] * 25, 1000]

    for minute, count in enumerate(done):
        spoken += [(minute, line.split(" · ")[0]) for line in progress.lines(running(count), ONE_JOB, now=60.0 * minute)]

    assert spoken == [
        (0, "0 % (0 of 1,000)"),
        (2, "10 % (100 of 1,000)"),
        (4, "20 % (200 of 1,000)"),
        (14, "25 % (250 of 1,000)"),
        (24, "25 % (250 of 1,000)"),
        (31, "100 % (1,000 of 1,000)"),
    ]


def test_rate_and_time_left_are_those_of_the_last_lines() -> None:
    progress = Progress()
    progress.lines(running(0), ONE_JOB, now=0)

    [line] = progress.lines(running(500), ONE_JOB, now=600)

    assert "50 rows/min · about 10 min left" in line


def test_a_wait_in_another_process_continues_where_the_last_one_stopped() -> None:
    first = Progress()
    first.lines(running(0), ONE_JOB, now=0)
    first.lines(running(200), ONE_JOB, now=60)

    later = Progress(json.loads(json.dumps(first.marks)))

    assert later.lines(running(250), ONE_JOB, now=120) == []
    [line] = later.lines(running(400), ONE_JOB, now=180)
    assert "133 rows/min" in line or "130 rows/min" in line


@pytest.mark.parametrize("marks", [None, "soon", [[1]], [["a", "b"]], {"at": 1}])
def test_marks_that_cannot_be_used_count_as_none(marks: Any) -> None:
    assert len(Progress(marks).lines(running(1), ONE_JOB, now=5)) == 1


def test_rows_that_are_resubmitted_start_a_new_rate() -> None:
    progress = Progress()
    progress.lines(running(0), ONE_JOB, now=0)
    progress.lines(running(900), ONE_JOB, now=60)

    [line] = progress.lines(running(500), ONE_JOB, now=700)

    assert line == "50 % (500 of 1,000) · 0 of 1 jobs done, 1 running · 43 rows/min · about 12 min left"
    assert progress.marks == [(0.0, 0), (700.0, 500)]


def test_a_clock_that_is_set_back_does_not_silence_the_log() -> None:
    progress = Progress()
    progress.lines(running(0), ONE_JOB, now=10_000)

    assert len(progress.lines(running(0), ONE_JOB, now=50)) == 1


def test_jobs_that_end_while_they_are_waited_for_count() -> None:
    standing = Standing(requests=100, done=70, jobs=10, jobs_done=7, usd=1.0)
    seen = [job("a", JobState.SUCCEEDED, 10), job("b", JobState.RUNNING, 5), job("c", JobState.PENDING)]

    assert standing.with_jobs(seen) == Reading(100, 85, jobs=10, jobs_done=8, running=1, usd=1.0)


def test_counts_of_the_service_never_exceed_the_run() -> None:
    assert Standing(requests=10, done=8, jobs=1).with_jobs([job("a", JobState.RUNNING, 10)]).done == 10


def test_a_job_that_changes_its_state_gets_a_line() -> None:
    progress = Progress()
    progress.lines([job("a", JobState.PENDING)], now=0)

    lines = progress.lines([job("a", JobState.RUNNING)], now=1)

    assert lines == ["batches/a BATCH_STATE_RUNNING, 0 of 10 requests done (was BATCH_STATE_PENDING)"]


def test_without_a_run_the_jobs_are_all_there_is() -> None:
    jobs = [job("a", JobState.RUNNING, done=4), job("b", JobState.PENDING)]

    assert Progress().lines(jobs, now=0) == ["20 % (4 of 20) · 0 of 2 jobs done, 1 running"]


def test_nothing_seen_is_nothing_to_say() -> None:
    assert Progress().lines([], now=0) == []
