"""Runs whenever a run is finished, and reads what its asset event says: where the tables are, how many rows they have, the cost.

It follows every task with this outlet: ``GeminiBatchOperator(…, outlets=[Asset("gemini_batch_runs")])``. Events that arrive while
a run of this DAG is still going on are read by the next one, all at once.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, ObjectStoragePath, task

RUNS = Asset("gemini_batch_runs")

with DAG(
    dag_id="read_the_event",
    schedule=RUNS,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15)},
    tags=["gemini", "example"],
    doc_md=__doc__,
):

    @task
    def read(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """The first rows of each run's results, where a real DAG would load them into a warehouse."""
        import pyarrow.parquet as pq

        finished = [event.extra for event in triggering_asset_events[RUNS]]
        for run in finished:
            logging.info("%(results)d of %(rows)d rows have a result, for %(cost_usd)s USD: %(destination)s", run)
            for part in sorted(ObjectStoragePath(f"{run['destination']}/results").glob("*.parquet"))[:1]:
                table = pq.read_table(part.path, filesystem=part.fs, columns=["key", "text"])
                logging.info("%s", table.slice(0, 3).to_pylist())
        return finished

    read()
