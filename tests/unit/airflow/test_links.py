"""The link from a task to its run's folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_gemini_batch.links import GeminiBatchRunLink, console_url
from airflow_gemini_batch.plugin import GeminiBatchPlugin


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
def test_the_link_finds_the_destination_of_every_operator(operator: Any) -> None:
    url = GeminiBatchRunLink().get_link(operator, ti_key=None)

    assert url == "https://console.cloud.google.com/storage/browser/bucket/run"


def test_the_plugin_is_named_as_its_entry_point() -> None:
    assert GeminiBatchPlugin.name == "gemini_batch"
    assert [link.name for link in GeminiBatchPlugin.operator_extra_links] == ["Gemini Batch run"]
