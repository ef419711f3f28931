"""``describe_stdlib`` from a folder of files: several tasks build one run, each from a group of the files.

The plan divides the files into groups, one builder builds each, and the merge makes one run of them: keys and equal requests are
compared across all files. From there on it is ``describe_stdlib_in_steps``.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_gemini_batch import (
    BatchOptions,
    GeminiBatchBuildGroupOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchMergeOperator,
    GeminiBatchPlanOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
)
from airflow_gemini_batch.examples.stdlib import Description, collect_stdlib

FOLDER = "{{ params.folder }}/{{ dag_run.run_after | ts_nodash }}"
FILES = 12

# One object for all steps; each uses the fields that it needs.
OPTIONS = BatchOptions(max_shard_requests=2_000, poll_interval=10)

# "group 3" or "shard 3" in place of the number of the mapped instance.
LABEL = "{{ task.map_label }}"

with DAG(
    dag_id="describe_stdlib_by_many_builders",
    schedule=None,
    params={"folder": str(Path.home() / "describe-stdlib-by-many-builders")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15), "options": OPTIONS},
    tags=["gemini", "example"],
    doc_md=__doc__,
):

    @task
    def collect_files(folder: str) -> str:
        """Write the table as several files, as Spark or DuckDB would leave them."""
        import pyarrow.parquet as pq

        table = pq.read_table(collect_stdlib(f"{folder}/stdlib.parquet"))
        rows = -(-table.num_rows // FILES)
        Path(folder, "files").mkdir(exist_ok=True)
        for number in range(FILES):
            pq.write_table(table.slice(number * rows, rows), f"{folder}/files/part-{number:03}.parquet")
        return f"{folder}/files"

    groups = GeminiBatchPlanOperator(
        task_id="plan",
        source=collect_files(FOLDER),
        request=GenerateRequest(
            prompt="Describe the Python ${kind} ${module}.${name}${signature} in one line:\n\n${documentation}",
            response_schema=Description,
        ),
        model="gemini-3.6-flash",
        destination=f"{FOLDER}/described",
        key="qualified_name",
        carry=["module", "kind"],
        groups=4,
    )
    built = GeminiBatchBuildGroupOperator.partial(task_id="build", map_index_template=LABEL).expand(group=groups.output)
    shards = GeminiBatchMergeOperator(task_id="merge", groups=built.output)
    jobs = GeminiBatchSubmitOperator.partial(task_id="submit", map_index_template=LABEL).expand(shard=shards.output)
    done = GeminiBatchSensor.partial(task_id="wait", map_index_template=LABEL).expand(job=jobs.output)
    parts = GeminiBatchDownloadOperator.partial(task_id="download", map_index_template=LABEL).expand(job=done.output)
    # Runs even if a shard has failed, so that it can name the missing one.
    parts >> GeminiBatchFinishOperator(task_id="finish", destination=f"{FOLDER}/described", trigger_rule="all_done")
