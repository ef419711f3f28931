"""A button on the task that opens its run's page, and where that page finds the run.

A URL names a task instance and never a folder. The folder is in an XCom that each task pushes when it starts, so it can be
read by whoever may read the XComs of the DAG.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

log = logging.getLogger(__name__)

#: The XCom with the URI of the run, of tasks that work on a whole run; those of one shard push the other one, so that a list of
#: runs does not have to read thousands of them.
RUN_KEY, SHARD_KEY = "gemini_batch_run", "gemini_batch_shard"

#: The last part of the addresses in Airflow's UI: of all runs, of a DAG run's and of a task's. Airflow drops a view whose route
#: another one has.
ALL_ROUTE, DAG_RUN_ROUTE, TASK_ROUTE = "gemini-batch", "gemini-batch-dag-run", "gemini-batch-run"


class GeminiBatchRunLink(BaseOperatorLink):
    """Link to the page of the task's run, in Airflow's own frame."""

    @property
    def name(self) -> str:
        return "Gemini Batch run"

    @property
    def xcom_key(self) -> str:
        return "_link_gemini_batch_run"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The path of the page. Airflow calls this on the worker after each pass.

        :param ti_key: the task instance, by whatever names it.
        """
        return f"{page_of_task(ti_key.dag_id, ti_key.run_id, ti_key.task_id, ti_key.map_index)}/plugin/{TASK_ROUTE}"


def page_of_task(dag_id: str, run_id: str, task_id: str, map_index: int | None = None) -> str:
    """The path of a task instance in Airflow's UI.

    :param map_index: None or negative for a task that is not mapped.
    """
    mapped = f"/mapped/{map_index}" if map_index is not None and map_index >= 0 else ""
    return f"{page_of_dag_run(dag_id, run_id)}/tasks/{quote(task_id, safe='')}{mapped}"


def page_of_dag_run(dag_id: str, run_id: str) -> str:
    """The path of the DAG run in Airflow's UI."""
    return f"{base_path()}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def base_path() -> str:
    """The path of ``[api] base_url``, without a slash at its end; empty at the root of a host."""
    from airflow.configuration import conf

    return urlsplit(str(conf.get("api", "base_url", fallback="") or "")).path.rstrip("/")


def publish_destination(task_instance: Any, operator: Any) -> None:
    """Push the URI of the operator's run, so that the page finds it. The task goes on where that fails."""
    key = SHARD_KEY if any(hasattr(operator, name) for name in ("job", "shard", "group")) else RUN_KEY
    try:
        if destination := destination_of(operator):
            task_instance.xcom_push(key=key, value=destination)
    except Exception as error:  # only the page needs it
        log.warning("The page of this run will not find it: %r", error)


def destination_of(operator: Any) -> str:
    """The destination of the operator, or of the reference or summary that it was given; empty text if it has none."""
    given = next((value for name in ("job", "shard", "group", "destination") if (value := getattr(operator, name, None))), None)
    place = given.get("destination") if isinstance(given, Mapping) else getattr(operator, "destination", None)
    if not place:
        return ""
    from airflow_gemini_batch._locations import uri_of

    return uri_of(place)


def console_url(uri: str) -> str:
    """The page that shows a folder: a console URL for ``s3://`` and ``gs://``, empty text for anything else.

    :param uri: URI of a folder, ``conn_id@`` allowed.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.rpartition("@")[2].partition("/")
    page = _CONSOLES.get(scheme.lower())
    return page(quote(bucket), quote(path.strip("/"))) if page and bucket else ""


_CONSOLES: Mapping[str, Callable[[str, str], str]] = {
    "gs": lambda bucket, path: f"https://console.cloud.google.com/storage/browser/{bucket}/{path}",
    "s3": lambda bucket, path: f"https://console.aws.amazon.com/s3/buckets/{bucket}?prefix={path}/",
}
