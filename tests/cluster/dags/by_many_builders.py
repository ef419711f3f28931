"""One run that several tasks build, each from files of its own, and one merges: what a cluster runs."""

from datetime import timedelta

from airflow.sdk import DAG, task_group

from airflow_gemini_batch import (
    GeminiBatchBuildGroupOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchMergeOperator,
    GeminiBatchPlanOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
    ShardReferenceDict,
)

DESTINATION = "s3://lake/merged"

with DAG(
    dag_id="by_many_builders",
    schedule=None,
    default_args={
        "retries": 5,
        "retry_delay": timedelta(seconds=1),
        "options": {"max_shard_requests": 1_000, "poll_interval": 2, "claim_lease": 60},
    },
    doc_md=__doc__,
):
    plan = GeminiBatchPlanOperator(
        task_id="plan",
        source="s3://lake/repeating/*.parquet",
        request=GenerateRequest(prompt="Repeat: ${body}"),
        model="gemini-3.6-flash",
        destination=DESTINATION,
        key="id",
        groups=2,
    )
    built = GeminiBatchBuildGroupOperator.partial(task_id="build").expand(group=plan.output)
    shards = GeminiBatchMergeOperator(task_id="merge", groups=built.output)

    @task_group
    def one_shard(shard: ShardReferenceDict) -> None:
        job = GeminiBatchSubmitOperator(task_id="submit", shard=shard)
        ended = GeminiBatchSensor(task_id="wait", job=job.output)
        GeminiBatchDownloadOperator(task_id="download", job=ended.output)

    one_shard.expand(shard=shards.output) >> GeminiBatchFinishOperator(task_id="finish", destination=DESTINATION)
