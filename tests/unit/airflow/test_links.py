"""The link from a task to the page of its run, and how that page finds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_gemini_batch.links import GeminiBatchRunLink, console_url, destination_of, page_of_dag_run, publish_destination


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("gs://bucket/runs/2026 11", "https://console.cloud.google.com/storage/browser/bucket/runs/2026%2011"),
        ("s3://lake@bucket/runs/a/", "https://console.aws.amazon.com/s3/buckets/bucket?prefix=runs/a/"),
        ("file:///srv/runs/a", ""),
        ("/srv/runs/a", ""),
        ("", ""),
    ],
)
def test_the_link_opens_the_console_of_the_object_store(uri: str, url: str) -> None:
    assert console_url(uri) == url


@pytest.mark.parametrize(
    "operator",
    [
        SimpleNamespace(destination="gs://bucket/run"),
        SimpleNamespace(job={"destination": "gs://bucket/run"}),
        SimpleNamespace(shard={"destination": "gs://bucket/run"}),
    ],
)
def test_the_destination_of_every_operator_is_found(operator: Any) -> None:
    assert destination_of(operator) == "gs://bucket/run"


@pytest.mark.parametrize(
    ("map_index", "path"),
    [
        (-1, "/dags/d/runs/manual__2026-11-26T12%3A00%3A00%2B00%3A00/tasks/g.t/plugin/gemini-batch-run"),
        (None, "/dags/d/runs/manual__2026-11-26T12%3A00%3A00%2B00%3A00/tasks/g.t/plugin/gemini-batch-run"),
        (3, "/dags/d/runs/manual__2026-11-26T12%3A00%3A00%2B00%3A00/tasks/g.t/mapped/3/plugin/gemini-batch-run"),
    ],
)
def test_the_link_leads_to_the_page_of_the_task_wherever_its_run_is(map_index: int | None, path: str) -> None:
    key = SimpleNamespace(dag_id="d", run_id="manual__2026-11-26T12:00:00+00:00", task_id="g.t", map_index=map_index)

    assert GeminiBatchRunLink().get_link(SimpleNamespace(destination="/srv/run"), ti_key=key) == path  # type: ignore[arg-type]


def test_the_path_of_the_base_url_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.org/team/airflow/")

    assert page_of_dag_run("d", "r") == "/team/airflow/dags/d/runs/r"


class Pushed:
    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@pytest.mark.parametrize(
    ("operator", "xcoms"),
    [
        (SimpleNamespace(destination="/srv/run"), {"gemini_batch_run": "/srv/run"}),
        (SimpleNamespace(job={"destination": "/srv/run"}), {"gemini_batch_shard": "/srv/run"}),
        (SimpleNamespace(destination=None), {}),
        (SimpleNamespace(destination=object()), {}),
    ],
)
def test_a_task_says_where_its_run_is_or_goes_on_without(operator: Any, xcoms: dict[str, str]) -> None:
    pushed = Pushed()

    publish_destination(pushed, operator)

    assert pushed.xcoms == xcoms
