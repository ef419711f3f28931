"""A 429 names the limit that was probably hit."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_gemini_batch.engine.gemini.quotas import likely_limit, likely_limit_of_run

#: As seen at a create, without any detail.
GENERIC = "You exceeded your current quota, please check your plan and billing details. To monitor it: https://ai.dev/rate-limit."


def violation(metric: str, name: str, value: str = "") -> list[dict[str, Any]]:
    return [
        {"violations": [{"quotaMetric": f"generativelanguage.googleapis.com/{metric}", "quotaId": name, "quotaValue": value}]}
    ]


@pytest.mark.parametrize(
    ("message", "details", "doing", "said"),
    [
        (GENERIC, violation("file_storage_bytes", "FileStorageBytesPerProject", "21474836480"), "upload x", "(20 GB) is full"),
        (f"{GENERIC} metric: generativelanguage.googleapis.com/file_storage_bytes", [], "upload x", "(20 GB) is full"),
        (GENERIC, violation("batch_enqueued_tokens", "BatchEnqueuedTokensPerModel", "3000000"), "create a job", "are enqueued"),
        (GENERIC, violation("batch_jobs", "ConcurrentBatchJobsPerProject", "100"), "create a job", "batch jobs are active"),
        ("Your project has exceeded its spending cap.", [], "create a job", "spend limit is reached"),
        (GENERIC, violation("requests", "GenerateRequestsPerMinutePerProject"), "list jobs", "Too many requests"),
        (GENERIC, [], "create a job", "active batch jobs (100 for a project), tokens enqueued"),
        (GENERIC, violation("new_metric", "NewQuotaId", "7"), "create a job", "The quota is NewQuotaId, its limit 7."),
    ],
)  # fmt: skip
def test_the_limit_is_named(message: str, details: list[dict[str, Any]], doing: str, said: str) -> None:
    assert said in likely_limit(message, details, doing)


def test_nothing_is_guessed_for_other_calls() -> None:
    assert likely_limit(GENERIC, [], "fetch batches/1") == ""


@pytest.mark.parametrize("details", [[{"violations": 5}], [{"violations": [3, {"quotaId": 4}]}]])
def test_details_of_another_shape_are_no_error(details: list[dict[str, Any]]) -> None:
    assert likely_limit(GENERIC, details, "list batch jobs") == ""


def test_what_a_run_has_in_flight_says_more() -> None:
    assert "100 active jobs" in likely_limit_of_run(95, 10)
    assert "about 10 million tokens" in likely_limit_of_run(3, 40_000_000)
    assert likely_limit_of_run(3, 1000) == ""
