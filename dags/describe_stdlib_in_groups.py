"""``describe_stdlib`` with a mapped task group for the shards: each is submitted, awaited and downloaded on its own.

In ``describe_stdlib_in_steps`` no shard is downloaded before all jobs have ended. Here a shard that is done is downloaded at
once, and one that fails can be cleared with its three tasks. The UI names each instance after its shard.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task, task_group

from airflow_gemini_batch import (
    BatchOptions,
    GeminiBatchBuildOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
    ShardReferenceDict,
)
from airflow_gemini_batch.examples.stdlib import Description, collect_stdlib

FOLDER = "{{ params.folder }}/{{ dag_run.run_after | ts_nodash }}"

# One object for all steps; each uses the fields that it needs.
OPTIONS = BatchOptions(max_shard_requests=2_000, poll_interval=10)

# "shard 3" in place of the number of the mapped instance.
LABEL = "{{ task.map_label }}"

with DAG(
    dag_id="describe_stdlib_in_groups",
    schedule=None,
    params={"folder": str(Path.home() / "describe-stdlib-in-groups")},
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

    @task_group
    def one_shard(shard: ShardReferenceDict) -> None:
        job = GeminiBatchSubmitOperator(task_id="submit", shard=shard, map_index_template=LABEL)
        ended = GeminiBatchSensor(task_id="wait", job=job.output, map_index_template=LABEL)
        GeminiBatchDownloadOperator(task_id="download", job=ended.output, map_index_template=LABEL)

    # Runs even if a shard has failed, so that it can name the missing one.
    finish = GeminiBatchFinishOperator(task_id="finish", destination=f"{FOLDER}/described", trigger_rule="all_done")
    one_shard.expand(shard=shards.output) >> finish
