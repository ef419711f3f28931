"""Fails when more than a share of a finished run's rows are dead letters, so that Airflow alerts as for any other failure.

It follows every task with the outlet ``Asset("gemini_batch_runs")``. The tasks after the run go on meanwhile. With
``max_dead_letter_ratio`` the task of the run itself fails. To get a message, give the task below a notifier:
``on_failure_callback=SlackNotifier(text=failure_text())``.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, Param, task
from airflow.sdk.exceptions import AirflowFailException

RUNS = Asset("gemini_batch_runs")

with DAG(
    dag_id="alert_dead_letters",
    schedule=RUNS,
    params={"limit": Param(type="number", default=0.05, minimum=0, maximum=1, description="Dead letters per row")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15)},
    tags=["gemini", "example"],
    doc_md=__doc__,
):

    @task
    def check(params: Any = None, triggering_asset_events: Any = None) -> None:
        finished = [event.extra for event in triggering_asset_events[RUNS]]
        too_many = [
            f"{run['dead_letter']} of {run['rows']} rows of {run['destination']} are dead letters: "
            + ", ".join(f"{reason} {rows}" for reason, rows in run["reasons"].items())
            for run in finished
            if run["dead_letter"] > params["limit"] * run["rows"]
        ]
        if too_many:
            raise AirflowFailException(". ".join(too_many))  # a retry would find the same

    check()
