"""After the other stories: the API key of the connection is in no log, no database and no file of any process."""

from __future__ import annotations

import pytest

from tests.e2e.harness import KEY, Stage
from tests.integration.canary.search import found_in_folder

#: Alone, it brings Airflow up and needs a run of its own.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def played(stage: Stage) -> Stage:
    """The stage after at least one story."""
    if not stage.stories:
        story = stage.begin("small_table")
        story.wait_for_tasks("describe", "deferred")
        stage.end_jobs()
        assert story.wait_until_ended() == "success"
    return stage


def test_the_key_is_nowhere(played: Stage) -> None:
    assert found_in_folder(KEY, played.folder, apart_from=(played.folder / "emulator",)) == []


def test_what_the_processes_left_is_searched(played: Stage) -> None:
    story = played.stories[0]

    found = found_in_folder(story.dag_id, played.folder)

    assert {"airflow/airflow.db", "airflow/scheduler.log", "airflow/api-server.log"} <= set(found)
    assert any(name.startswith(f"airflow/logs/dag_id={story.dag_id}/") for name in found_in_folder("Built run", played.folder))


def test_the_key_would_be_found(played: Stage) -> None:
    scratch = played.folder / "airflow" / "logs" / "planted.log"
    scratch.write_text(f"x-goog-api-key: {KEY}\n")

    try:
        assert found_in_folder(KEY, played.folder, apart_from=(played.folder / "emulator",)) == ["airflow/logs/planted.log"]
    finally:
        scratch.unlink()
