"""How long a submission waits that was refused."""

from __future__ import annotations

from airflow_gemini_batch.engine.errors import NoRoomError, QuotaError, UnreachableError
from airflow_gemini_batch.engine.gemini.waits import quota_wait, wait_after


def test_a_refused_submission_is_tried_again_at_growing_distances_with_jitter() -> None:
    waits = [quota_wait(refusals, None, jitter=0.5) for refusals in range(1, 9)]

    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0, 1800.0]
    assert quota_wait(1, None, jitter=0.0) < quota_wait(1, None, jitter=1.0)


def test_what_the_service_asks_for_is_the_least_that_is_waited() -> None:
    assert quota_wait(1, 500.0, jitter=0.5) == 500.0


def test_a_turn_is_asked_for_more_often_because_the_next_job_that_ends_may_give_it() -> None:
    waits = [wait_after(NoRoomError("full"), refusals, jitter=0.5) for refusals in range(1, 7)]

    assert waits == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]
    assert wait_after(NoRoomError("full", retry_after=7.0), 4, jitter=0.5) == 7.0
    assert wait_after(NoRoomError("full", retry_after=900.0), 4, jitter=0.5) == 240.0


def test_after_other_failures_the_wait_is_that_of_a_refusal() -> None:
    assert wait_after(QuotaError("429", retry_after=500.0), 1, jitter=0.5) == 500.0
    assert wait_after(UnreachableError("down"), 2, jitter=0.5) == 120.0
