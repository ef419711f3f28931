"""Managing jobs and files as tasks, on what real runs have left at the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch import (
    GeminiBatchCancelJobOperator,
    GeminiBatchCleanupOperator,
    GeminiBatchDeleteFileOperator,
    GeminiBatchDeleteJobOperator,
    GeminiBatchGetJobOperator,
    GeminiBatchListFilesOperator,
    GeminiBatchListJobsOperator,
    GeminiBatchOperator,
    GeminiHook,
)
from airflow_gemini_batch._compat import AirflowFailException, AirflowSkipException
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from airflow_gemini_batch.engine.errors import NotFoundError
from airflow_gemini_batch.engine.gemini.inventory import DeleteOutcome, delete_job
from tests.integration.airflow.conftest import Passes

pytestmark = pytest.mark.usefixtures("connect")

Describe = Callable[..., GeminiBatchOperator]


def do(operator: type, **arguments: Any) -> Any:
    return Passes(operator(task_id="manage", **arguments)).finish()


@pytest.fixture
def hook() -> Iterator[GeminiHook]:
    hook = GeminiHook()
    with hook.client:
        yield hook


def jobs_of(hook: GeminiHook) -> list[str]:
    return [job.name for job in hook.list_jobs()]


def inputs_of(hook: GeminiHook) -> list[str]:
    return [file.name for file in hook.list_files() if not file.is_output]


@pytest.fixture
def leaving(describe: Describe, emulator: Emulator) -> Callable[[], None]:
    """A finished run whose input files are still there, as when deleting them failed."""

    def leave() -> None:
        emulator.faults.add(HttpFault(do="status", status=400, method="DELETE", path="/files/"))
        Passes(describe()).finish()
        emulator.faults.clear()

    return leave


def test_jobs_are_listed_newest_first_and_cut(describe: Describe) -> None:
    Passes(describe()).finish()

    returned = do(GeminiBatchListJobsOperator, state=["succeeded"], display_name="gb-*", created_after="1h", limit=2)

    assert (returned["count"], len(returned["jobs"]), returned["left_out"]) == (3, 2, 1)
    assert returned["jobs"][0]["create_time"] >= returned["jobs"][1]["create_time"]
    assert returned["jobs"][0]["succeeded"] == returned["jobs"][0]["requests"] > 0
    assert do(GeminiBatchListJobsOperator, state="ACTIVE")["count"] == 0


def test_a_listing_of_a_hundred_jobs_is_small_in_xcom(describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="fail", error_message="x" * 5_000))
    Passes(describe(options={"max_shard_requests": 1, "max_dead_letter_ratio": 1.0})).finish()

    returned = do(GeminiBatchListJobsOperator)

    assert returned["count"] >= 12
    assert len(json.dumps(returned)) < 1_000 * returned["count"]


def test_an_unknown_state_is_refused_without_a_retry() -> None:
    with pytest.raises(AirflowFailException, match="InputError: state is SLEEPING; expected"):
        do(GeminiBatchListJobsOperator, state="sleeping")


def test_a_job_is_fetched_by_name_or_by_reference(describe: Describe, hook: GeminiHook) -> None:
    Passes(describe()).finish()
    name = jobs_of(hook)[0]

    assert do(GeminiBatchGetJobOperator, job=name) == do(GeminiBatchGetJobOperator, job={"destination": "x", "job": name})


def test_entries_of_a_listing_can_be_passed_to_other_operators(leaving: Callable[[], None], hook: GeminiHook) -> None:
    leaving()
    job = do(GeminiBatchListJobsOperator)["jobs"][0]
    file = next(file for file in do(GeminiBatchListFilesOperator)["files"] if not file["is_output"])

    assert do(GeminiBatchGetJobOperator, job=job) == job
    assert do(GeminiBatchDeleteJobOperator, job=job) == {"job": job["name"], "outcome": "deleted"}
    assert do(GeminiBatchDeleteFileOperator, file=file) == {"file": file["name"], "outcome": "deleted"}


def test_a_reference_without_a_job_skips_the_task() -> None:
    reference = {"destination": "s3://b/run", "shard": 2, "attempt": 0, "rows": 3, "requests": 0, "job": None}

    for operator in (GeminiBatchGetJobOperator, GeminiBatchCancelJobOperator, GeminiBatchDeleteJobOperator):
        with pytest.raises(AirflowSkipException, match="Shard 2 has no requests"):
            do(operator, job=reference)


def test_a_file_that_is_not_there_is_not_called_deleted() -> None:
    assert do(GeminiBatchDeleteFileOperator, file="files/unknown")["outcome"] == "gone"


def test_a_file_that_this_key_may_not_delete_is_not_called_deleted(
    leaving: Callable[[], None], hook: GeminiHook, emulator: Emulator
) -> None:
    leaving()
    emulator.faults.add(HttpFault(do="status", status=403, method="DELETE", path="/files/"))
    file = inputs_of(hook)[0]

    with pytest.raises(AirflowFailException, match=f"RefusedError: Could not delete {file}: 403"):
        do(GeminiBatchDeleteFileOperator, file=file)


def test_getting_a_job_that_is_not_found_fails_the_task() -> None:
    with pytest.raises(AirflowFailException, match=r"NotFoundError: .*batches/unknown"):
        do(GeminiBatchGetJobOperator, job="batches/unknown")


def test_an_active_job_is_cancelled_before_it_is_deleted_and_only_if_configured(
    describe: Describe,
    emulator: Emulator,
    hook: GeminiHook,
) -> None:
    emulator.faults.add(JobFault(do="hang"))
    Passes(describe()).start()
    first, second, third = jobs_of(hook)

    with pytest.raises(AirflowFailException, match=f"{first} .* is active. Deleting it would hide it without stopping it"):
        do(GeminiBatchDeleteJobOperator, job=first)
    cancelled = do(GeminiBatchCancelJobOperator, job=second)
    deleted = do(GeminiBatchDeleteJobOperator, job=third, cancel=True)

    assert cancelled["state"] == "CANCELLED"
    assert deleted == {"job": third, "outcome": "deleted"}
    assert set(jobs_of(hook)) == {first, second}
    assert [entry["job"] for entry in emulator.journal("cancel")] == [second, third]


def test_a_job_that_does_not_end_when_cancelled_is_not_deleted(
    describe: Describe,
    emulator: Emulator,
    hook: GeminiHook,
) -> None:
    emulator.faults.add(JobFault(do="hang", cancel_is_ignored=True))
    Passes(describe(options={"max_shard_requests": 100})).start()
    [name] = jobs_of(hook)

    outcome = delete_job(hook.client, name, cancel=True, timeout=0.0)

    assert outcome is DeleteOutcome.ENDING
    assert jobs_of(hook) == [name]


def test_deleting_a_job_that_is_not_found_is_not_an_error() -> None:
    assert do(GeminiBatchDeleteJobOperator, job="batches/unknown")["outcome"] == "gone"


def test_files_are_listed_and_deleted_except_outputs_of_jobs(leaving: Callable[[], None]) -> None:
    leaving()

    returned = do(GeminiBatchListFilesOperator)
    inputs = [file["name"] for file in returned["files"] if not file["is_output"]]
    outputs = [file["name"] for file in returned["files"] if file["is_output"]]

    assert (len(inputs), len(outputs), returned["count"], returned["left_out"]) == (3, 3, 6, 0)
    assert returned["bytes"] == sum(file["bytes"] for file in returned["files"]) > 0
    assert do(GeminiBatchListFilesOperator, display_name="gb-* shard 0 *")["count"] == 1
    assert do(GeminiBatchDeleteFileOperator, file=inputs[0]) == {"file": inputs[0], "outcome": "deleted"}
    assert do(GeminiBatchDeleteFileOperator, file=outputs[0]) == {"file": outputs[0], "outcome": "undeletable"}


def test_the_hook_has_the_same(describe: Describe, emulator: Emulator, hook: GeminiHook) -> None:
    emulator.faults.add(JobFault(do="hang"))
    Passes(describe(options={"max_shard_requests": 100})).start()

    [job] = hook.list_jobs(state="ACTIVE", model="gemini-*")
    [file] = hook.list_files()
    hook.cancel_job(job.name)

    assert hook.get_job(job.name).state == "CANCELLED"
    assert (hook.delete_job(job.name), hook.delete_file(file.name)) == (DeleteOutcome.DELETED, DeleteOutcome.DELETED)
    with pytest.raises(NotFoundError):
        hook.get_job(job.name)


class TestCleanup:
    def test_cleanup_of_a_finished_run_leaves_only_what_the_service_itself_removes(
        self, leaving: Callable[[], None], tmp_path: Path, hook: GeminiHook
    ) -> None:
        leaving()

        planned = do(GeminiBatchCleanupOperator, destination=str(tmp_path / "run"), older_than=timedelta(0), dry_run=True)
        assert len(jobs_of(hook)) == len(inputs_of(hook)) == 3
        done = do(GeminiBatchCleanupOperator, destination=str(tmp_path / "run"), older_than=timedelta(0))

        assert {**planned, "dry_run": False} == done
        assert (done["deleted_files"]["count"], done["deleted_jobs"]["count"]) == (3, 3)
        assert done["output_files_left_to_the_service"]["count"] == 3
        assert done["failed"]["count"] == 0
        assert jobs_of(hook) == []
        assert inputs_of(hook) == []

    def test_recent_jobs_are_kept_and_a_second_cleanup_finds_nothing_to_do(
        self, leaving: Callable[[], None], tmp_path: Path, hook: GeminiHook
    ) -> None:
        leaving()

        first = do(GeminiBatchCleanupOperator, destination=[str(tmp_path)])
        second = do(GeminiBatchCleanupOperator, destination=[str(tmp_path)])

        assert (first["deleted_files"]["count"], first["young_jobs"]["count"], len(jobs_of(hook))) == (3, 3, 3)
        assert (second["deleted_files"]["count"], second["deleted_jobs"]["count"]) == (0, 0)

    def test_cleanup_leaves_an_unfinished_run_unchanged(
        self,
        describe: Describe,
        tmp_path: Path,
        emulator: Emulator,
        hook: GeminiHook,
    ) -> None:
        emulator.faults.add(JobFault(do="hang", display_name="shard 1"))
        Passes(describe()).start()
        emulator.advance(60)

        returned = do(GeminiBatchCleanupOperator, destination=str(tmp_path), older_than=timedelta(0), cancel_orphans=True)

        assert returned["runs"]["unfinished"] == 1
        assert (len(jobs_of(hook)), len(inputs_of(hook))) == (3, 3)
        assert emulator.journal("cancel") == []

    def test_older_than_may_be_text_and_a_run_named_twice_counts_once(
        self, leaving: Callable[[], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        leaving()
        places = [str(tmp_path / "run"), str(tmp_path)]

        with caplog.at_level("INFO"):
            returned = do(GeminiBatchCleanupOperator, destination=places, older_than="{{ '0s' }}", dry_run=True)

        assert (returned["runs"]["finished"], returned["deleted_jobs"]["count"]) == (1, 3)
        assert "Would clean up: 3 input files deleted, 3 jobs deleted; 1 finished runs;" in caplog.text

    def test_orphans_are_reported_and_cancelled_only_if_configured(
        self, describe: Describe, tmp_path: Path, emulator: Emulator
    ) -> None:
        emulator.faults.add(JobFault(do="hang", display_name="shard 1"))
        Passes(describe(destination=str(tmp_path / "elsewhere"))).start()
        emulator.faults.clear()
        Passes(describe()).finish()

        named = do(GeminiBatchCleanupOperator, destination=str(tmp_path / "run"))
        assert emulator.journal("cancel") == []
        cancelled = do(GeminiBatchCleanupOperator, destination=str(tmp_path / "run"), cancel_orphans=True)

        assert (named["orphan_jobs"]["count"], named["cancelled_orphans"]["count"]) == (3, 0)
        assert named["orphan_files"]["count"] == 3
        assert cancelled["cancelled_orphans"]["count"] == len(emulator.journal("cancel")) == 1

    def test_jobs_that_this_package_did_not_create_are_not_orphans(
        self,
        leaving: Callable[[], None],
        tmp_path: Path,
        hook: GeminiHook,
    ) -> None:
        leaving()
        foreign = hook.client.create_job(
            model="gemini-3.6-flash", input_file=inputs_of(hook)[0], display_name="gb-not-a-token shard 1 attempt 0"
        )

        returned = do(GeminiBatchCleanupOperator, destination=str(tmp_path / "run"), older_than=timedelta(0), cancel_orphans=True)

        assert returned["orphan_jobs"]["count"] == 0
        assert jobs_of(hook) == [foreign.name]

    def test_an_unreadable_run_is_reported_and_orphans_are_not_cancelled(
        self, leaving: Callable[[], None], tmp_path: Path
    ) -> None:
        leaving()
        (tmp_path / "torn" / "_run").mkdir(parents=True)
        (tmp_path / "torn" / "_run" / "manifest.json").write_text('{"run_id": "abc')

        returned = do(GeminiBatchCleanupOperator, destination=str(tmp_path))

        assert (returned["runs"]["finished"], returned["runs"]["unreadable"]["count"], returned["deleted_files"]["count"]) == (
            1,
            1,
            3,
        )
        with pytest.raises(AirflowFailException, match=r"CorruptRunError: .*torn/_run/manifest.json is torn"):
            do(GeminiBatchCleanupOperator, destination=str(tmp_path), cancel_orphans=True)

    def test_what_cannot_be_removed_is_reported_and_the_rest_is_removed(
        self, leaving: Callable[[], None], tmp_path: Path, emulator: Emulator, hook: GeminiHook
    ) -> None:
        leaving()
        stubborn = inputs_of(hook)[0]
        emulator.faults.add(HttpFault(do="status", status=400, method="DELETE", path=stubborn))

        returned = do(GeminiBatchCleanupOperator, destination=str(tmp_path), older_than=timedelta(0))

        assert returned["failed"]["names"][0].startswith(f"{stubborn}: Could not delete {stubborn}")
        assert (returned["deleted_files"]["count"], returned["deleted_jobs"]["count"]) == (2, 3)

    def test_a_destination_without_a_run_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(AirflowFailException, match=r"DestinationError: There is no run at or below .*/typo"):
            do(GeminiBatchCleanupOperator, destination=str(tmp_path / "typo"))
