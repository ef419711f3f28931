"""DAGs whose deferred task is ended in a way that needs a DAG of its own."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from airflow.sdk import DAG, task

from airflow_gemini_batch import GeminiBatchOperator, GenerateRequest

ROWS = 12


def describe() -> GeminiBatchOperator:
    return GeminiBatchOperator(
        task_id="describe",
        source=pa.table({"id": [f"k{n}" for n in range(ROWS)], "body": [f"number {n}" for n in range(ROWS)]}),
        request=GenerateRequest(prompt="Repeat: ${body}"),
        model="gemini-2.5-flash",
        destination="{{ params.folder }}/once/described",
        key="id",
        options={"max_shard_requests": 5, "poll_interval": 2},
    )


SETTINGS = {"schedule": None, "params": {"folder": "/nowhere"}}

with DAG("way_out_deleted", **SETTINGS):
    describe()

with DAG("way_out_run_timeout", dagrun_timeout=timedelta(seconds=90), **SETTINGS):
    describe()

with DAG("way_out_fail_fast", fail_fast=True, **SETTINGS):

    @task.sensor(poke_interval=1, timeout=300, mode="poke")
    def fail_when_told(folder: str) -> bool:
        if (Path(folder) / "fail").exists():
            raise RuntimeError("The test asked for this failure.")
        return False

    describe()
    fail_when_told("{{ params.folder }}")
