"""Which states of a killed task mean that nothing will wait for its jobs any more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import DRCount, GetDRCount, GetTaskStates, TaskStatesResult
from airflow.utils.state import TaskInstanceState

from airflow_gemini_batch._task_states import have_ended, task_has_ended

ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


@pytest.mark.parametrize("state", [state.value for state in TaskInstanceState])
def test_a_task_has_ended_in_a_state_that_it_does_not_leave_by_itself(state: str) -> None:
    assert have_ended({"wait_3": state}) is (state in ENDED)


def test_a_cleared_task_that_is_not_scheduled_yet_goes_on() -> None:
    assert not have_ended({"wait": None})


@pytest.mark.parametrize(("active_runs", "ended"), [(0, True), (1, False)], ids=["run or DAG deleted", "instance deleted"])
def test_a_deleted_task_instance_goes_on_while_its_run_is_active(
    active_runs: int, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {GetTaskStates: TaskStatesResult(task_states={}), GetDRCount: DRCount(count=active_runs)}
    supervisor = SimpleNamespace(send=lambda request: answers[type(request)])
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)

    assert task_has_ended(SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)) is ended
