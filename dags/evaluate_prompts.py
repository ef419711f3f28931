"""Two prompts and two models on one data set: a run for each, the scores of each run, and a comparison with the first one.

A rerun pays only for what has changed: every run takes the answers that earlier runs below the folder have to the same requests.
So add a prompt to ``PROMPTS`` and trigger the DAG again: only that prompt is sent. The comparison, ``report.html``, is below the
second run; ``choose`` names the run that should replace the baseline, if there is one.
"""

import itertools
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_gemini_batch import BatchOptions, GeminiBatchCompareOperator, GeminiBatchOperator, GeminiBatchScoreOperator
from airflow_gemini_batch.evals import Contains, Scorer
from airflow_gemini_batch.examples.stdlib import rows

FOLDER = "{{ params.folder }}/{{ dag_run.run_after | ts_nodash }}"

# The first prompt with the first model is the baseline.
PROMPTS = {
    "name": "Is Python's ${qualified_name} a class, a method or a function? Answer with one word.",
    "signature": "Is Python's ${qualified_name}${signature} a class, a method or a function? Answer with one word.",
}
MODELS = ("gemini-2.5-flash", "gemini-3.6-flash")

# Of the standard library's 5,900 names, each 12th is asked about.
EVERY = 12


def one_word(row: dict[str, Any]) -> bool:
    """Whether the answer has the form that was asked for."""
    return len(row["text"].split()) == 1


RUNS: list[dict[str, Any]] = [
    {
        "request": {"type": "generate", "prompt": prompt},
        "model": model,
        "destination": f"{FOLDER}/{name}-{model}",
        "labels": {"prompt": name},
    }
    for (name, prompt), model in itertools.product(PROMPTS.items(), MODELS)
]
BASELINE, *CANDIDATES = [run["destination"] for run in RUNS]

with DAG(
    dag_id="evaluate_prompts",
    schedule=None,
    params={"folder": str(Path.home() / "evaluate-prompts")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15)},
    tags=["gemini", "example"],
    doc_md=__doc__,
):

    @task
    def data_set(file: str) -> str:
        """About 500 questions with their answers, as JSON Lines; put your own data set here."""
        place = ObjectStoragePath(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(map(json.dumps, itertools.islice(rows(), 0, None, EVERY))), encoding="utf-8")
        return file

    runs = GeminiBatchOperator.partial(
        task_id="answer",
        source=data_set(f"{FOLDER}/questions.jsonl"),
        key="qualified_name",
        carry=["module", "kind"],
        reuse="{{ params.folder }}",
        options=BatchOptions(poll_interval=10),
        map_index_template="{{ task.map_label }}",
    ).expand_kwargs(RUNS)

    scores = GeminiBatchScoreOperator.partial(
        task_id="score",
        # With a version, scores of a function are not made again.
        scorers=[Contains(expected="kind", ignore_case=True), Scorer("one_word", one_word, kind="boolean", version="1")],
        map_index_template="{{ task.destination['destination'] }}",
    ).expand(destination=runs.output)

    compared = GeminiBatchCompareOperator(
        task_id="compare",
        baseline=BASELINE,
        candidate=CANDIDATES,
        primary="contains",
        margin=0.02,
        slices=["kind"],
        # A prompt that is worse is a finding here, not a failure.
        on_fail="warn",
    )
    scores >> compared

    @task
    def choose(compared: Any) -> str | None:
        """The candidate that is shown to be better, by the most; None if the baseline should stay."""
        found = [(scorer, one["candidate"]["run"]) for one in compared["candidates"] for scorer in one["scorers"]]
        better = {run: scorer["difference"] for scorer, run in found if scorer["primary"] and scorer["shown"]}
        chosen = max((run for run in better if better[run] > 0), key=better.__getitem__, default=None)
        logging.info("%s Take %s.", " ".join(compared["words"]), chosen or "the baseline")
        return chosen

    choose(compared.output)
