"""A small table: twelve rows in three shards. Each scenario uses another model, which identifies its jobs."""

from datetime import timedelta

import pyarrow as pa
from airflow.sdk import DAG, Param

from airflow_gemini_batch import GeminiBatchOperator, GenerateRequest

ROWS = 12

with DAG(
    dag_id="small_table",
    schedule=None,
    params={"folder": Param(type="string", default="/nowhere"), "model": Param(type="string", default="gemini-2.5-flash")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
):
    GeminiBatchOperator(
        task_id="describe",
        source=pa.table({"id": [f"k{n}" for n in range(ROWS)], "body": [f"number {n}" for n in range(ROWS)]}),
        request=GenerateRequest(prompt="Repeat: ${body}"),
        model="{{ params.model }}",
        destination="{{ params.folder }}/once/described",
        key="id",
        options={"max_shard_requests": 5, "poll_interval": 2},
    )
