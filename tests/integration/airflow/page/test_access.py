"""Who sees what: anonymous and foreign callers see nothing of a run, whatever a request or an XCom names."""

from __future__ import annotations

import json

import pytest

from tests.integration.airflow.page.auth_manager import STRANGER
from tests.integration.airflow.page.conftest import World

ROUTES = ("run", "run.json", "rows.json", "shard.json", "summary", "runs", "runs.json")
OF_A_RUN = ROUTES[:5]


@pytest.mark.parametrize("route", ROUTES)
def test_anonymous_callers_get_nothing(world: World, route: str) -> None:
    answer = world.run(route, "ours", user=None, shard="00000-0")

    assert answer.status_code == 401
    assert "gemini-3.6-flash" not in answer.text
    assert "search" not in answer.text


@pytest.mark.parametrize("route", OF_A_RUN)
def test_a_dag_that_the_caller_may_not_see_is_refused(world: World, route: str) -> None:
    assert world.run(route, "theirs", shard="00000-0").status_code == 200

    answer = world.run(route, "theirs", user=STRANGER, shard="00000-0")

    assert answer.status_code == 403
    assert "gemini-3.6-flash" not in answer.text


@pytest.mark.parametrize("route", OF_A_RUN)
@pytest.mark.parametrize("dag_id", ["~", "", "no_such_dag"])
def test_no_dag_in_particular_is_refused_or_has_no_run(world: World, route: str, dag_id: str) -> None:
    answer = world.get(route, dag_id=dag_id, run_id=world.runs["ours"], shard="00000-0")

    assert answer.status_code in ((403,) if dag_id != "no_such_dag" else (200, 404))
    assert "gemini-3.6-flash" not in answer.text


@pytest.mark.parametrize("route", OF_A_RUN)
def test_an_xcom_that_points_to_another_team_s_run_shows_nothing(world: World, route: str) -> None:
    answer = world.run(route, "spy", user=STRANGER, shard="00000-0")

    assert answer.status_code == (200 if route == "run" else 404)
    assert "gemini-3.6-flash" not in answer.text
    assert "alert" not in answer.text


def test_the_list_has_only_runs_of_dags_that_the_caller_may_see(world: World) -> None:
    all_of_them, some = world.get("runs").text, world.get("runs", user=STRANGER).text

    assert "team=ads" in all_of_them
    assert "team=ads" not in some
    assert "theirs" not in some
    assert "team=search" in some


def test_two_dags_in_one_address_do_not_open_the_other_one(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.tokens[STRANGER]}"}
    for query in ("dag_id=ours&dag_id=theirs", "dag_id=theirs&dag_id=ours"):
        answer = world.api.get(f"/gemini-batch/page/run?{query}&run_id={world.runs['theirs']}", headers=headers)

        assert "team=ads" not in answer.text


@pytest.mark.parametrize(
    "place",
    [
        "http://169.254.169.254/latest",
        "HTTPS://example.org/run",
        "simplecache::https://example.org/run",
        "zip://run::http://example.org/run.zip",
    ],
)
def test_the_schemes_of_the_web_are_no_place_for_a_run(place: str) -> None:
    from airflow_gemini_batch.plugin.page.access import _value

    assert _value(type("Entry", (), {"value": json.dumps(place)})()) == ""
    assert _value(type("Entry", (), {"value": '"s3://bucket/run"'})()) == "s3://bucket/run"


def test_documents_about_the_api_are_not_served(world: World) -> None:
    assert [world.get(path).status_code for path in ("docs", "redoc", "openapi.json")] == [404, 404, 404]
