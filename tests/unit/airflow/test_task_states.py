"""Which states of a killed task mean that nothing will wait for its jobs any more."""

from __future__ import annotations

import pytest
from airflow.utils.state import TaskInstanceState

from airflow_gemini_batch._task_states import have_ended

ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


@pytest.mark.parametrize("state", [state.value for state in TaskInstanceState])
def test_a_task_has_ended_in_a_state_that_it_does_not_leave_by_itself(state: str) -> None:
    assert have_ended({"wait_3": state}) is (state in ENDED)


def test_a_cleared_task_that_is_not_scheduled_yet_goes_on() -> None:
    assert not have_ended({"wait": None})


@pytest.mark.parametrize("states", [None, {}])
def test_a_task_that_was_deleted_with_its_run_or_dag_has_ended(states: dict[str, str] | None) -> None:
    assert have_ended(states)
