"""The five steps over a table on S3, mapped: what a cluster runs."""

from datetime import timedelta

from airflow.sdk import DAG, task_group

from airflow_gemini_batch import (
    GeminiBatchBuildOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
    ShardReferenceDict,
)

DESTINATION = "s3://lake/out"

with DAG(
    dag_id="in_steps",
    schedule=None,
    default_args={
        "retries": 5,
        "retry_delay": timedelta(seconds=1),
        "options": {"max_shard_requests": 500, "poll_interval": 2, "claim_lease": 60},
    },
    doc_md=__doc__,
):
    built = GeminiBatchBuildOperator(
        task_id="build",
        source="s3://lake/in/*.parquet",
        request=GenerateRequest(prompt="Repeat: ${body}"),
        model="gemini-3.6-flash",
        destination=DESTINATION,
        key="id",
    )

    @task_group
    def one_shard(shard: ShardReferenceDict) -> None:
        job = GeminiBatchSubmitOperator(task_id="submit", shard=shard)
        ended = GeminiBatchSensor(task_id="wait", job=job.output)
        GeminiBatchDownloadOperator(task_id="download", job=ended.output)

    one_shard.expand(shard=built.output) >> GeminiBatchFinishOperator(task_id="finish", destination=DESTINATION)
