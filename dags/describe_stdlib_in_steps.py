"""``describe_stdlib`` in steps, with one mapped task instance for each shard, so that each can be seen and retried alone."""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_gemini_batch import (
    BatchOptions,
    GeminiBatchBuildOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchRedriveOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
)
from airflow_gemini_batch.examples.stdlib import Description, collect_stdlib

FOLDER = "{{ params.folder }}/{{ dag_run.run_after | ts_nodash }}"

# One object for all steps; each uses the fields that it needs.
OPTIONS = BatchOptions(max_shard_requests=2_000, poll_interval=10)

with DAG(
    dag_id="describe_stdlib_in_steps",
    schedule=None,
    params={"folder": str(Path.home() / "describe-stdlib-in-steps")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15), "options": OPTIONS},
    tags=["gemini", "example"],
    doc_md=__doc__,
):
    shards = GeminiBatchBuildOperator(
        task_id="build",
        source=task(collect_stdlib)(f"{FOLDER}/stdlib.parquet"),
        request=GenerateRequest(
            prompt="Describe the Python ${kind} ${module}.${name}${signature} in one line:\n\n${documentation}",
            response_schema=Description,
        ),
        model="gemini-3.6-flash",
        destination=f"{FOLDER}/described",
        key="qualified_name",
        carry=["module", "kind"],
    )
    jobs = GeminiBatchSubmitOperator.partial(task_id="submit").expand(shard=shards.output)
    done = GeminiBatchSensor.partial(task_id="wait", deferrable=True).expand(job=jobs.output)
    parts = GeminiBatchDownloadOperator.partial(task_id="download").expand(job=done.output)
    # Runs even if a shard has failed, so that it can name the missing one.
    finish = GeminiBatchFinishOperator(task_id="finish", destination=f"{FOLDER}/described", trigger_rule="all_done")
    parts >> finish
    # The steps before resubmit nothing. This one resubmits all retryable dead letters, if there are any.
    GeminiBatchRedriveOperator(task_id="redrive", destination=finish.output)
