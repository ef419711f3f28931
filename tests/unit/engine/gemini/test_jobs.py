"""Reading a job from the raw operation, as the service has been seen to write it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_gemini_batch.engine.gemini.jobs import JobState, JobStats, parse_job, time_of
from airflow_gemini_batch.engine.gemini.names import is_job_name

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
    silent = parse_job(operation("BATCH_STATE_LOST", done=True))
    broken = parse_job(operation("BATCH_STATE_LOST", done=True, error={"code": 13}))

    assert not still_going.is_terminal
    assert partial.is_terminal
    assert partial.ended_well
    assert silent.ended_well
    assert broken.is_terminal
    assert not broken.ended_well


@pytest.mark.parametrize(
    ("top", "metadata", "over"),
    [
        ({}, {}, False),
        ({}, {"updateTime": "2026-11-22T05:00:00Z"}, False),
        ({"response": {"responsesFile": "files/batch-x"}}, {}, True),
        ({"error": {"code": 13}}, {}, True),
        ({}, {"endTime": "2026-11-22T05:00:00Z"}, True),
    ],
)
def test_an_operation_with_a_result_or_an_end_is_done_though_it_does_not_say_so(
    top: dict[str, Any], metadata: dict[str, Any], over: bool
) -> None:
    assert parse_job(operation("BATCH_STATE_REHEATING", metadata=metadata, **top)).is_terminal is over


def test_an_unknown_end_with_successes_has_an_output_to_wait_for() -> None:
    stats = {"batchStats": {"requestCount": "2", "successfulRequestCount": "1"}}
    job = parse_job(operation("BATCH_STATE_PARTIALLY_SUCCEEDED", metadata=stats, done=True))

    assert job.ended_well
    assert not job.has_output


def test_an_unknown_state_of_a_job_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        parse_job({"name": "batches/told-once", "metadata": {"state": "BATCH_STATE_REHEATING"}})

    assert caplog.text.count("BATCH_STATE_REHEATING") == 1


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
    assert str(job).endswith("BATCH_STATE_FAILED"), "a message without a reason is not repeated"


@pytest.mark.parametrize("name", ["batches/x", "batches/v1.us~a_B-9", f"batches/{'0' * 300}"])
def test_an_id_may_be_made_of_whatever_a_url_takes_as_it_is(name: str) -> None:
    output = f"files/{name.removeprefix('batches/')}"
    job = parse_job({"name": name, "metadata": {"output": {"responsesFile": output}}})

    assert (job.name, job.output_file) == (name, output)


@pytest.mark.parametrize(
    "name", ["batches/a?x=1", "batches/..", "batches/a%2fb", "batches/../files/x", "batches/", "files/abc", "", None, 7]
)
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2025-09-07T11:55:07.827892252Z", "2025-09-07T11:55:07.827892+00:00"),
        ("2025-09-07T11:55:07.5Z", "2025-09-07T11:55:07.500000+00:00"),
        ("2025-09-07T11:55:07Z", "2025-09-07T11:55:07+00:00"),
        ("2025-09-07T13:55:07+02:00", "2025-09-07T13:55:07+02:00"),
        ("2025-13-07T11:55:07Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_read_with_any_fraction_and_zone(text: str, told: str | None) -> None:
    time = time_of(text)

    assert (time.isoformat() if time else None) == told
