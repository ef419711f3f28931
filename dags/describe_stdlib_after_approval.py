"""Nothing large is paid for before a person has seen the bill: a trial of 50 rows, an estimate, an approval, and then the rest.

The trial is a run of its own, drawn from the whole table. What it paid for is reused, so nothing is paid for twice, and the run
of the whole table may not cost more than what was approved. If the person rejects, only the trial has been paid for.
Start it with ``airflow dags trigger describe_stdlib_after_approval``.
"""

from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, task

from airflow_gemini_batch import BatchOptions, GeminiBatchEstimateOperator, GeminiBatchOperator, GenerateRequest
from airflow_gemini_batch.examples.stdlib import Description, collect_stdlib

FOLDER = "{{ params.folder }}/{{ dag_run.run_after | ts_nodash }}"
MODEL = "gemini-3.6-flash"
REQUEST = GenerateRequest(
    prompt="Describe the Python ${kind} ${module}.${name}${signature} in one line:\n\n${documentation}",
    response_schema=Description,
)

with DAG(
    dag_id="describe_stdlib_after_approval",
    schedule=None,
    params={"folder": str(Path.home() / "describe-stdlib-after-approval")},
    default_args={
        "retries": 3,
        "retry_delay": timedelta(seconds=15),
        # USD per million tokens at batch rates. Leave them out where genai-prices is installed and knows the model.
        "options": BatchOptions(
            max_shard_requests=2_000, poll_interval=10, prices={MODEL: {"input": 0.375, "cached": 0.0375, "output": 1.875}}
        ),
    },
    tags=["gemini", "example"],
    doc_md=__doc__,
):
    table = task(collect_stdlib)(f"{FOLDER}/stdlib.parquet")

    trial = GeminiBatchOperator(
        task_id="trial",
        source=table,
        request=REQUEST,
        model=MODEL,
        destination=f"{FOLDER}/trial",
        key="qualified_name",
        carry=["module", "kind"],
        sample=50,
    )
    estimate = GeminiBatchEstimateOperator(
        task_id="estimate",
        source=table,
        request=REQUEST,
        model=MODEL,
        key="qualified_name",
        trial=f"{FOLDER}/trial",
        reuse=f"{FOLDER}/trial",
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject="{{ ti.xcom_pull('estimate').text }}",
        body="{% for note in ti.xcom_pull('estimate').notes %}\n* {{ note }}{% endfor %}",
    )
    describe = GeminiBatchOperator(
        task_id="describe",
        source=table,
        request=REQUEST,
        model=MODEL,
        destination=f"{FOLDER}/described",
        key="qualified_name",
        carry=["module", "kind"],
        reuse=f"{FOLDER}/trial",
        # What was approved is the limit.
        max_cost_usd="{{ ti.xcom_pull('estimate').usd.high }}",
    )
    trial >> estimate >> approve >> describe
