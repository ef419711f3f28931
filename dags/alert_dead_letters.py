"""Fails when more than a share of a finished run's rows are dead letters, and tells people where to look.

It follows every task with the outlet ``Asset("gemini_batch_runs")``. The tasks after the run go on meanwhile. With
``max_dead_letter_ratio`` the task of the run itself fails. The notifier below writes to the log; replace it by one of Airflow's,
with the same text: ``SlackNotifier(channel="data", text=failure_text() + LINKS)``.
"""

import logging
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from airflow.sdk import DAG, Asset, BaseNotifier, Param, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_gemini_batch import failure_text

RUNS = Asset("gemini_batch_runs")

#: The page of each such run in Airflow, and its summary. In mails: ``| e`` after each name.
LINKS = (
    "{% for run in ti.xcom_pull(task_ids=ti.task_id, key='too_many') or () %}"
    "\n{{ run.page }}\n{{ run.destination }}/summary.html"
    "{% endfor %}"
)


class LogNotifier(BaseNotifier):
    """Writes a text to the task's log."""

    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        logging.getLogger(__name__).error("%s", self.text)


def page_of(event: Any, base_url: str) -> str:
    """Where Airflow shows the run of an event; its start page for an event that no task has made."""
    source = event.source_task_instance
    if source is None:
        return base_url
    mapped = f"/mapped/{source.map_index}" if source.map_index is not None and source.map_index >= 0 else ""
    run = f"{base_url}/dags/{quote(source.dag_id, safe='')}/runs/{quote(source.run_id, safe='')}"
    return f"{run}/tasks/{quote(source.task_id, safe='')}{mapped}/plugin/gemini-batch-run"


with DAG(
    dag_id="alert_dead_letters",
    schedule=RUNS,
    params={"limit": Param(type="number", default=0.05, minimum=0, maximum=1, description="Dead letters per row")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15)},
    tags=["gemini", "example"],
    doc_md=__doc__,
):

    @task(on_failure_callback=LogNotifier(text=failure_text("plain") + LINKS))
    def check(params: Any = None, triggering_asset_events: Any = None, ti: Any = None) -> None:
        base_url = ti.log_url.partition("/dags/")[0]
        too_many, said = [], []
        for event in triggering_asset_events[RUNS]:
            run = event.extra
            if run["dead_letter"] > params["limit"] * run["rows"]:
                reasons = ", ".join(f"{reason} {rows}" for reason, rows in run["reasons"].items())
                said.append(f"{run['dead_letter']} of {run['rows']} rows of {run['destination']} are dead letters: {reasons}")
                too_many.append({"destination": run["destination"], "page": page_of(event, base_url)})
        if too_many:
            ti.xcom_push(key="too_many", value=too_many)
            raise AirflowFailException(". ".join(said))  # a retry would find the same

    check()
