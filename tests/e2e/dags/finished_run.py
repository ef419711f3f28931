"""A run of four rows that tells the example DAGs when it is finished."""

from datetime import timedelta

import pyarrow as pa
from airflow.sdk import DAG, Asset, Param

from airflow_gemini_batch import GeminiBatchOperator, GenerateRequest

with DAG(
    dag_id="finished_run",
    schedule=None,
    params={"folder": Param(type="string", default="/nowhere")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
):
    GeminiBatchOperator(
        task_id="describe",
        source=pa.table({"id": ["a", "b", "c", "cut"], "body": ["one", "two", "three", "four"]}),
        request=GenerateRequest(prompt="Repeat: ${body}"),
        model="gemini-3.1-flash-lite",
        destination="{{ params.folder }}/once/described",
        key="id",
        options={"poll_interval": 2, "max_redrives": 0},
        outlets=[Asset("gemini_batch_runs")],
    )
