"""What Airflow loads as a plugin, in every one of its processes: keep this module light.

One wrong entry of ``external_views`` removes the whole plugin from the UI without a word, and so does a route that is there twice
with its view; a unit test validates them with Airflow's own classes.
"""

from __future__ import annotations

import pkgutil
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_gemini_batch.links import ALL_ROUTE, DAG_RUN_ROUTE, TASK_ROUTE, GeminiBatchRunLink, base_path
from airflow_gemini_batch.plugin.lazy import LazyApp
from airflow_gemini_batch.plugin.webhooks import URL_PREFIX

#: The page is served below this path; the webhooks have their own.
PAGE_PREFIX = "/gemini-batch/page"


def _view(destination: str, route: str, page: str) -> dict[str, str]:
    # The browser fills in the names; it leaves {MAP_INDEX} as it is where a task is not mapped.
    return {
        "name": "Gemini Batch",
        "destination": destination,
        "url_route": route,
        "href": f"{base_path()}{PAGE_PREFIX}/{page}",
        "icon": f"{base_path()}{PAGE_PREFIX}/static/icon.svg",
        "icon_dark_mode": f"{base_path()}{PAGE_PREFIX}/static/icon-dark.svg",
    }


def _built_by(name: str) -> LazyApp:
    return LazyApp(lambda: pkgutil.resolve_name(f"airflow_gemini_batch.plugin.{name}")())


class GeminiBatchPlugin(AirflowPlugin):
    """The provider's parts of the UI and of the API server. The name is also that of the entry point and in ``provider_info``."""

    name = "gemini_batch"
    operator_extra_links = [GeminiBatchRunLink()]  # noqa: RUF012 (declared so by Airflow)
    fastapi_apps = [  # noqa: RUF012
        {"name": "gemini_batch_webhooks", "app": _built_by("webhooks:build_receiver"), "url_prefix": URL_PREFIX},
        {"name": "gemini_batch_page", "app": _built_by("page.app:build_app"), "url_prefix": PAGE_PREFIX},
    ]
    external_views: list[Any] = [  # noqa: RUF012
        {**_view("nav", ALL_ROUTE, "runs"), "category": "browse"},
        _view("dag_run", DAG_RUN_ROUTE, "run?dag_id={DAG_ID}&run_id={RUN_ID}"),
        _view("task_instance", TASK_ROUTE, "run?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"),
    ]
