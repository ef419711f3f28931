"""What a cleanup does with each job and file, decided on plain values."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.engine.cleanup import CleanupPlan, CleanupReport, RunResources, make_plan, runs_below
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.run.storage import locate

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.timezone.utc)
DONE, OPEN, ORPHANED = "d" * 32, "e" * 32, "f" * 32
RUNS = [
    RunResources(
        "s3://b/done", True, frozenset({DONE}), frozenset({"batches/renamed"}), frozenset({"files/chosen-by-the-service"})
    ),
    RunResources("s3://b/open", False, frozenset({OPEN})),
]


def job(
    token: str | None = DONE, state: JobState = JobState.SUCCEEDED, *, ended: str = "2026-11-01T00:00:00Z", **more: Any
) -> Job:
    name = "another program's" if token is None else f"gb-{token} shard 0 attempt 0"
    return Job(**{"name": "batches/1", "state": state, "display_name": name, "end_time": ended, **more})


def file(token: str | None = DONE, **more: Any) -> RemoteFile:
    name = "files/other" if token is None else f"files/gb-{token}"
    return RemoteFile(**{"name": name, "size": 10, "sha256": None, "is_usable": True, **more})


def planned(things: list[Job] | list[RemoteFile]) -> set[str]:
    jobs, files = ([], things) if isinstance(things[0], RemoteFile) else (things, [])
    plan = make_plan(RUNS, jobs, files, older_than=dt.timedelta(days=7), now=NOW)  # type: ignore[arg-type]
    return {kind for kind in CleanupPlan.__slots__ if getattr(plan, kind)}


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (job(), {"delete_jobs"}),
        (job(state=JobState.FAILED), {"delete_jobs"}),
        (job(ended="2026-11-20T00:00:00Z"), {"young"}),
        (job(ended=""), {"young"}),
        (job(state=JobState.RUNNING), {"cancel"}),
        (job(state=JobState.UNKNOWN), {"cancel"}),
        (job(output_file="files/batch-1"), {"delete_jobs", "outputs"}),
        (job(None, name="batches/renamed"), {"delete_jobs"}),
        (job(OPEN), set()),
        (job(OPEN, JobState.RUNNING), set()),
        (job(ORPHANED), {"orphan_jobs"}),
        (job(ORPHANED, JobState.RUNNING), {"orphan_jobs"}),
        (job(None), set()),
        (job(None, JobState.RUNNING), set()),
    ],
)
def test_each_job_is_planned_by_its_owner_state_and_age(found: Job, kinds: set[str]) -> None:
    assert planned([found]) == kinds


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (file(), {"delete_files"}),
        (file(None, name="files/chosen-by-the-service"), {"delete_files"}),
        (file(None, display_name=f"gb-{DONE} shard 0 attempt 0"), {"delete_files"}),
        (file(is_output=True), set()),
        (file(OPEN), set()),
        (file(ORPHANED), {"orphan_files"}),
        (file(None), set()),
    ],
)
def test_each_file_is_planned_by_its_owner(found: RemoteFile, kinds: set[str]) -> None:
    assert planned([found]) == kinds


@pytest.mark.parametrize("finished", [(True, False), (False, True)])
def test_nothing_is_touched_that_an_unfinished_copy_of_the_run_needs(finished: tuple[bool, bool]) -> None:
    copies = [RunResources(f"s3://b/{number}", is_done, frozenset({DONE})) for number, is_done in enumerate(finished)]

    plan = make_plan(copies, [job(), job(state=JobState.RUNNING)], [file()], older_than=dt.timedelta(0), now=NOW)

    assert not any(getattr(plan, kind) for kind in CleanupPlan.__slots__)


def test_a_report_is_cut_and_counts_what_it_left_out() -> None:
    plan = make_plan(
        RUNS, [job(ORPHANED, name=f"batches/{number}") for number in range(1000)], [], older_than=dt.timedelta(0), now=NOW
    )

    report = CleanupReport(True, 1, 1, [], plan).as_dict(max_names=3)

    assert report["runs"] == {"finished": 1, "unfinished": 1, "unreadable": {"count": 0, "names": [], "left_out": 0}}
    assert report["orphan_jobs"]["count"] == 1000
    assert report["orphan_jobs"]["names"][0] == f"batches/0 SUCCEEDED gb-{ORPHANED} shard 0 attempt 0"
    assert (len(report["orphan_jobs"]["names"]), report["orphan_jobs"]["left_out"]) == (3, 997)


def test_runs_are_found_below_a_folder_and_not_inside_each_other(tmp_path: Path) -> None:
    for folder in ("one", "dag/2026-11-20/0", "one/results/inner", "_hidden/run", "a/b/c/d/e"):
        (tmp_path / folder / "_run").mkdir(parents=True)
        (tmp_path / folder / "_run" / "manifest.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("no run")

    found = {run.destination.uri.removeprefix(f"{tmp_path}/") for run in runs_below(locate(str(tmp_path)))}

    assert found == {"one", "dag/2026-11-20/0"}
