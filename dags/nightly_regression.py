"""The model behind an alias, night by night: the same rows each time, scored, and compared with the latest good night.

An alias such as ``gemini-flash-latest`` means another model one day. This DAG fails if answers have become worse by more than the
margin, and ``report.html`` below that night's run shows which ones. A night that failed is nobody's baseline, so the DAG fails
until the answers are good again, or you delete the nights before. Nothing is reused: each night pays for its rows.
"""

import json
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_gemini_batch import BatchOptions, GeminiBatchCompareOperator, GeminiBatchOperator, GeminiBatchScoreOperator
from airflow_gemini_batch.evals import Contains
from airflow_gemini_batch.examples.stdlib import collect_stdlib

FOLDER = "{{ params.folder }}"
NIGHT = "{{ dag_run.run_after | ts_nodash }}"

with DAG(
    dag_id="nightly_regression",
    schedule=None,  # in earnest: "0 2 * * *"
    max_active_runs=1,
    params={"folder": str(Path.home() / "nightly-regression")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15)},
    tags=["gemini", "example"],
    doc_md=__doc__,
):
    tonight = GeminiBatchOperator(
        task_id="answer",
        source=task(collect_stdlib)(f"{FOLDER}/tables/{NIGHT}.parquet"),
        request={
            "type": "generate",
            "prompt": "Is Python's ${qualified_name} a class, a method or a function? Answer with one word.",
        },
        model="gemini-flash-latest",
        destination=f"{FOLDER}/nights/{NIGHT}",
        key="qualified_name",
        carry=["module", "kind"],
        # The same rows each night, drawn from the whole table.
        sample=500,
        options=BatchOptions(poll_interval=10),
    )
    scores = GeminiBatchScoreOperator(
        task_id="score", destination=tonight.output, scorers=Contains(expected="kind", ignore_case=True)
    )

    @task.short_circuit
    def latest_good_night(nights: str, tonight: str) -> str | None:
        """The latest earlier run that did not fail; without one there is nothing to compare, and the rest is skipped."""

        def failed(run: ObjectStoragePath) -> bool:
            comparison = run / "comparisons" / "default" / "comparison.json"
            return comparison.exists() and json.loads(comparison.read_text())["verdict"] == "fail"

        runs = [run for run in ObjectStoragePath(nights).iterdir() if run.name < tonight and (run / "summary.json").exists()]
        return max((str(run) for run in runs if not failed(run)), default=None)

    baseline = latest_good_night(f"{FOLDER}/nights", NIGHT)
    scores >> baseline
    GeminiBatchCompareOperator(task_id="compare", baseline=baseline, candidate=tonight.output, margin=0.05)
