"""Reading a job from the raw operation, as the service has been seen to write it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_gemini_batch.engine.jobs import JobState, JobStats, is_job_name, parse_job

NAME = "batches/7h9w4gzuqot3bb3fpd1e2nqcp980iwnmjs7n"


def operation(state: str = "BATCH_STATE_PENDING", *, metadata: dict[str, Any] | None = None, **top: Any) -> dict[str, Any]:
    return {"name": NAME, "metadata": {"state": state, "name": NAME, **(metadata or {})}, **top}


@pytest.mark.parametrize(
    ("wire", "state", "terminal"),
    [
        ("BATCH_STATE_PENDING", JobState.PENDING, False),
        ("BATCH_STATE_RUNNING", JobState.RUNNING, False),
        ("BATCH_STATE_SUCCEEDED", JobState.SUCCEEDED, True),
        ("BATCH_STATE_FAILED", JobState.FAILED, True),
        ("BATCH_STATE_CANCELLED", JobState.CANCELLED, True),
        ("BATCH_STATE_EXPIRED", JobState.EXPIRED, True),
        ("BATCH_STATE_UNSPECIFIED", JobState.UNKNOWN, False),
        ("JOB_STATE_SUCCEEDED", JobState.SUCCEEDED, True),
    ],
)
def test_every_state_of_the_wire_is_known(wire: str, state: JobState, terminal: bool) -> None:
    job = parse_job(operation(wire))

    assert (job.state, job.is_terminal) == (state, terminal)


def test_an_unknown_state_is_judged_by_done_and_output() -> None:
    still_going = parse_job(operation("BATCH_STATE_REHEATING"))
    partial = parse_job(
        operation("BATCH_STATE_PARTIALLY_SUCCEEDED", metadata={"output": {"responsesFile": "files/batch-x"}}, done=True)
    )
    broken = parse_job(operation("BATCH_STATE_LOST", done=True))

    assert not still_going.is_terminal
    assert partial.is_terminal
    assert partial.ended_well
    assert broken.is_terminal
    assert not broken.ended_well


def test_stats_are_strings_on_the_wire_and_zeros_are_omitted() -> None:
    job = parse_job(
        operation(metadata={"batchStats": {"requestCount": "5", "pendingRequestCount": "3", "failedRequestCount": "2"}})
    )

    assert job.stats == JobStats(total=5, succeeded=0, failed=2, pending=3)


@pytest.mark.parametrize(
    "places",
    [
        {"metadata": {"output": {"responsesFile": "files/batch-abc"}}},
        {"response": {"responsesFile": "files/batch-abc"}},
        {"response": {"responses_file": "files/batch-abc"}},
    ],
)
def test_the_output_is_found_wherever_the_service_puts_it(places: dict[str, Any]) -> None:
    job = parse_job(operation("BATCH_STATE_SUCCEEDED", done=True, **places))

    assert job.output_file == "files/batch-abc"


def test_a_failed_job_keeps_its_error_which_the_sdk_drops() -> None:
    job = parse_job(operation("BATCH_STATE_FAILED", done=True, error={"code": 13, "message": "Batch failed without error."}))

    assert (job.error_code, job.error_message) == (13, "Batch failed without error.")
    assert "Batch failed without error." in str(job)


@pytest.mark.parametrize("name", ["batches/a?x=1", "batches/../files/x", "batches/", "files/abc", "", None, 7])
def test_a_name_that_could_reach_another_path_is_refused(name: Any) -> None:
    assert not is_job_name(name)
    with pytest.raises(ValueError, match="not a batch job"):
        parse_job({"name": name, "metadata": {}})


@pytest.mark.parametrize("odd", [None, 7, "text", [], {"state": 3, "batchStats": "none", "output": [1], "inputConfig": 9}])
def test_odd_metadata_gives_a_job_without_details(odd: Any) -> None:
    job = parse_job({"name": NAME, "metadata": odd, "error": "bad", "response": 3})

    assert (job.state, job.stats, job.output_file) == (JobState.UNKNOWN, JobStats(), None)


def test_an_output_name_that_is_no_file_is_not_believed() -> None:
    job = parse_job(operation("BATCH_STATE_SUCCEEDED", metadata={"output": {"responsesFile": "https://elsewhere/x"}}))

    assert job.output_file is None


@pytest.mark.parametrize(
    ("metadata", "embeds"),
    [
        ({"@type": "type.googleapis.com/google.ai.generativelanguage.v1main.EmbedContentBatch"}, True),
        ({"@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"}, False),
        ({"model": "models/gemini-embedding-001"}, True),
        ({"model": "models/gemini-3.6-flash"}, False),
    ],
)
def test_a_job_that_makes_embeddings_is_told_by_its_type_or_its_model(metadata: dict[str, Any], embeds: bool) -> None:
    assert parse_job(operation(metadata=metadata)).embeds is embeds
