"""The plugin's entries, held against Airflow's own classes: one wrong entry removes the plugin from the UI without a word."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from airflow import plugins_manager
from airflow.api_fastapi.core_api.datamodels.plugins import PluginResponse

from airflow_gemini_batch.links import TASK_ROUTE
from airflow_gemini_batch.plugin import PAGE_PREFIX, GeminiBatchPlugin

VIEWS = GeminiBatchPlugin.external_views


def test_the_plugin_is_named_as_its_entry_point() -> None:
    assert GeminiBatchPlugin.name == "gemini_batch"
    assert [link.name for link in GeminiBatchPlugin.operator_extra_links] == ["Gemini Batch run"]


def test_airflow_takes_every_entry() -> None:
    [info] = [info for info in plugins_manager.get_plugin_info() if info["name"] == "gemini_batch"]

    answer = PluginResponse.model_validate(info)

    assert [view.destination for view in answer.external_views] == ["nav", "dag_run", "task_instance"]
    assert len(answer.external_views) == len(VIEWS)
    assert [app.url_prefix for app in answer.fastapi_apps] == ["/gemini-batch/webhooks", PAGE_PREFIX]


def test_a_wrong_entry_would_be_seen_here() -> None:
    [info] = [info for info in plugins_manager.get_plugin_info() if info["name"] == "gemini_batch"]
    wrong = {**info, "external_views": [{**VIEWS[0], "destination": "task_instances"}]}

    with pytest.raises(ValueError, match="destination"):
        PluginResponse.model_validate(wrong)


def test_every_view_has_a_route_of_its_own() -> None:
    assert max(Counter(view["url_route"] for view in VIEWS).values()) == 1
    assert VIEWS[-1]["url_route"] == TASK_ROUTE


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view["destination"])
def test_views_name_a_task_and_never_a_folder(view: dict[str, Any]) -> None:
    assert set(view) == {"name", "destination", "url_route", "href", "icon", "icon_dark_mode"} | (
        {"category"} if view["destination"] == "nav" else set()
    )
    assert view["href"].startswith(f"{PAGE_PREFIX}/run")
    assert "folder" not in view["href"]
    assert "destination" not in view["href"]


def test_loading_the_plugin_imports_no_page() -> None:
    code = "import sys, airflow_gemini_batch.plugin; sys.exit('airflow_gemini_batch.plugin.page' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)
