"""One table in, two tables out, in one deferrable task: Python's standard library, each of its names described by Gemini.
Before it, another task says what the run may cost, which sends nothing.

Start it with ``airflow dags trigger describe_stdlib``, or with another folder for the tables:
``--conf '{"folder": "s3://my-bucket/describe-stdlib"}'``. Names without documentation become dead letters.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_gemini_batch import BatchOptions, GeminiBatchEstimateOperator, GeminiBatchOperator, GenerateRequest
from airflow_gemini_batch.examples.stdlib import Description, collect_stdlib

# One folder for each DAG run: a retry or a cleared task resumes the run that it finds there, so nothing is paid for twice.
FOLDER = "{{ params.folder }}/{{ dag_run.run_after | ts_nodash }}"
MODEL = "gemini-3.6-flash"
REQUEST = GenerateRequest(
    prompt="Describe the Python ${kind} ${module}.${name}${signature} in one line:\n\n${documentation}",
    response_schema=Description,
)

with DAG(
    dag_id="describe_stdlib",
    schedule=None,
    params={"folder": str(Path.home() / "describe-stdlib")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15)},
    tags=["gemini", "example"],
    doc_md=__doc__,
):
    table = task(collect_stdlib)(f"{FOLDER}/stdlib.parquet")

    estimate = GeminiBatchEstimateOperator(task_id="estimate", source=table, request=REQUEST, model=MODEL, key="qualified_name")
    describe = GeminiBatchOperator(
        task_id="describe",
        source=table,
        request=REQUEST,
        model=MODEL,
        destination=f"{FOLDER}/described",
        key="qualified_name",
        carry=["module", "kind"],
        # Several jobs, for demonstration: by default a table of this size becomes one.
        options=BatchOptions(max_shard_requests=2_000, poll_interval=10),
    )
    estimate >> describe
