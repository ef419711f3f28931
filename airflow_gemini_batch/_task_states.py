"""Whether a task instance has ended for good: asked when it is killed, before its jobs are cancelled.

Airflow kills a deferred task or a worker process for many reasons and does not say which. The task's state says enough: a user
who has marked the task (or its run) has ended it; a cleared task, one that is retried, and one whose worker was shut down go on,
and their next try needs the jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: States that a task does not leave by itself. Others, and None for a cleared task that is not scheduled yet, go on.
_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


def task_has_ended(task_instance: Any) -> bool:
    """Ask Airflow whether the task instance has ended, whatever its latest try is. Blocks for one or two requests.

    An instance that was deleted goes on while its run is active, because the scheduler makes a new one; without an active run,
    the run or the DAG has been deleted.

    :param task_instance: the trigger's or the worker's: anything with ``dag_id``, ``run_id``, ``task_id`` and ``map_index``.

    Raises whatever Airflow raises when it cannot answer.
    """
    # Not a public module, but the standard provider's trigger for external tasks asks in the same way.
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    run_id = task_instance.run_id
    map_index = -1 if task_instance.map_index is None else task_instance.map_index
    states = RuntimeTaskInstance.get_task_states(
        dag_id=task_instance.dag_id, task_ids=[task_instance.task_id], run_ids=[run_id], map_index=map_index
    )
    found = states.get(run_id)
    if not found:
        active = RuntimeTaskInstance.get_dr_count(dag_id=task_instance.dag_id, run_ids=[run_id], states=["queued", "running"])
        return active == 0
    return have_ended(found)


def have_ended(states: Mapping[str, str | None]) -> bool:
    """Whether these states, of one task instance, mean its end."""
    return all(state in _ENDED for state in states.values())
