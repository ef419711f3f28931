"""After the other scenarios, the API key of the connection is not in any log, database or file of any process."""

from __future__ import annotations

import pytest

from tests.e2e.harness import KEY, Stack
from tests.integration.canary.search import found_in_folder

#: Run alone, this module has to start Airflow and a DAG run itself.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def used_stack(stack: Stack) -> Stack:
    """The stack, after at least one scenario has run."""
    if not stack.scenarios:
        scenario = stack.start("small_table")
        scenario.wait_for_tasks("describe", "deferred")
        stack.end_jobs()
        assert scenario.wait_until_ended() == "success"
    return stack


def test_the_key_is_not_found(used_stack: Stack) -> None:
    assert found_in_folder(KEY, used_stack.folder, excluding=(used_stack.folder / "emulator",)) == []


def test_the_files_of_the_processes_are_searched(used_stack: Stack) -> None:
    scenario = used_stack.scenarios[0]

    found = found_in_folder(scenario.dag_id, used_stack.folder)

    assert {"airflow/airflow.db", "airflow/scheduler.log", "airflow/api-server.log"} <= set(found)
    assert any(
        name.startswith(f"airflow/logs/dag_id={scenario.dag_id}/") for name in found_in_folder("Built run", used_stack.folder)
    )


def test_the_key_would_be_found(used_stack: Stack) -> None:
    scratch = used_stack.folder / "airflow" / "logs" / "planted.log"
    scratch.write_text(f"x-goog-api-key: {KEY}\n")

    try:
        assert found_in_folder(KEY, used_stack.folder, excluding=(used_stack.folder / "emulator",)) == [
            "airflow/logs/planted.log"
        ]
    finally:
        scratch.unlink()
