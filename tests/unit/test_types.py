"""``mypy --strict`` accepts the example DAGs, the snippets of all pages and a DAG in steps, and refuses users' mistakes.

All files are checked in one call of mypy, which takes seconds. The snippets of a page are one module, as they run.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

import pytest
from airflow.sdk import BaseOperator, BaseSensorOperator

from airflow_gemini_batch.operators import _airflow_arguments

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] if "```python" in page.read_text("utf-8"))
DAGS = sorted((ROOT / "dags").glob("*.py"))

#: In Google's SDK nearly every field may be None, which its own samples ignore; ours that show its use are written likewise.
SDK_AS_ANY = ("from google import genai", "from typing import Any; genai: Any = ...")

FIVE_MAPPED_STEPS = """
    from typing import Any

    from airflow.sdk import DAG, task, task_group

    from airflow_gemini_batch import (
        BatchOptions, GeminiBatchBuildOperator, GeminiBatchDownloadOperator, GeminiBatchFinishOperator,
        GeminiBatchRedriveOperator, GeminiBatchSensor, GeminiBatchSubmitOperator, GenerateRequest, JobReferenceDict,
        PartReferenceDict, ShardReferenceDict,
    )

    OPTIONS = BatchOptions(poll_interval=10)

    with DAG("mapped", default_args={"retries": 3}):

        @task
        def table() -> str:
            return "s3://lake/reviews.parquet"

        built = GeminiBatchBuildOperator(
            task_id="build",
            source=table(),
            request=GenerateRequest(prompt="${text}"),
            model="m",
            destination="d",
            options=OPTIONS,
        )
        jobs = GeminiBatchSubmitOperator.partial(task_id="submit", options=OPTIONS).expand(shard=built.output)
        ended = GeminiBatchSensor.partial(task_id="wait", options={"timeout": 3600}).expand(job=jobs.output)
        parts = GeminiBatchDownloadOperator.partial(task_id="download", retries=5).expand(job=ended.output)
        parts >> GeminiBatchFinishOperator(task_id="finish", destination="d", trigger_rule="all_done")

    with DAG("grouped"):

        @task_group
        def one_shard(shard: Any) -> None:
            job = GeminiBatchSubmitOperator(task_id="submit", shard=shard)
            done = GeminiBatchSensor(task_id="wait", job=job.output, mode="reschedule", deferrable=False)
            GeminiBatchDownloadOperator(task_id="download", job=done.output, pool="downloads")

        finish = GeminiBatchFinishOperator(task_id="finish", destination="d")
        one_shard.expand(shard=built.output) >> finish
        GeminiBatchRedriveOperator(task_id="redrive", destination=finish.output, reasons=["JOB_CANCELLED"])

    def rows_of(part: PartReferenceDict) -> int:
        shard: ShardReferenceDict = part
        job: JobReferenceDict = part
        return shard["rows"] - part["dead_letter"] + len(job["state"] or "")
"""

#: What must be refused, in a module that has imported all public names -> what mypy says.
MISTAKES = {
    'GeminiHook().create_cache(modell="m")': 'Unexpected keyword argument "modell"',
    'GeminiHook().list_jobs("ACTIVE")': "Too many positional arguments",
    "GeminiBatchOperator(**GOOD, max_redrives=3)": 'Unexpected keyword argument "max_redrives"',
    "GeminiBatchOperator(**GOOD, retrys=3)": 'Unexpected keyword argument "retrys"',
    "GeminiBatchOperator(**GOOD, options=[3])": '"options" to "GeminiBatchOperator" has incompatible type "list[int]"',
    'GeminiBatchOperator(**GOOD, options="fast")': '"options" to "GeminiBatchOperator" has incompatible type "str"',
    'GeminiBatchOperator(**GOOD, if_exists="overwrite")': '"if_exists" to "GeminiBatchOperator" has incompatible type',
    'GeminiBatchSensor(task_id="t", job=JOB, timeout=60)': 'Unexpected keyword argument "timeout"',
    'GeminiBatchSubmitOperator(task_id="t", shard="0")': '"shard" to "GeminiBatchSubmitOperator" has incompatible type',
    'GeminiBatchFinishOperator(destination="d")': 'Missing named argument "task_id"',
    'GeminiBatchDeleteJobOperator(task_id="t", job="batches/1", cancell=True)': 'Unexpected keyword argument "cancell"',
    'BatchOptions(transport="inlin")': '"transport" to "BatchOptions" has incompatible type',
    "BatchOptions(max_redrive=1)": 'Unexpected keyword argument "max_redrive"',
    'run_batch("s", REQUEST, model="m", destination="d", options=3)': '"options" to "run_batch" has incompatible type "int"',
    "GenerateRequest(promt='x')": 'Unexpected keyword argument "promt"',
    "airflow_gemini_batch.GeminiBatchOperater": 'has no attribute "GeminiBatchOperater"',
}

PRELUDE = """
    import airflow_gemini_batch
    from airflow_gemini_batch import *

    REQUEST = GenerateRequest(prompt="${text}")
    JOB: JobReferenceDict = {
        "destination": "d", "shard": 0, "attempt": 0, "rows": 1, "requests": 1, "job": "batches/1", "state": None
    }
"""
GOOD = 'task_id="t", source="s", request=REQUEST, model="m", destination="d"'


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """File's stem -> what mypy says of it, each as ``line: message``."""
    folder = tmp_path_factory.mktemp("types")
    for page in PAGES:
        (folder / f"{module_of(page)}.py").write_text(snippets_of(page), encoding="utf-8")
    (folder / "five_mapped_steps.py").write_text(textwrap.dedent(FIVE_MAPPED_STEPS), encoding="utf-8")
    prelude = textwrap.dedent(PRELUDE)
    lines = [mistake.replace("**GOOD", GOOD) for mistake in MISTAKES]
    (folder / "mistakes.py").write_text(f"{prelude}{chr(10).join(lines)}\n", encoding="utf-8")
    files = [*map(str, sorted(folder.glob("*.py"))), *map(str, DAGS)]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--hide-error-context", "--no-color-output", *files]

    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert output.returncode == 1, output.stdout + output.stderr  # 0 would mean that the mistakes have been accepted
    found: dict[str, list[str]] = defaultdict(list)
    for line in output.stdout.splitlines():
        if match := re.match(r"(.+?)\.py:(\d+): error: (.*)", line):
            found[Path(match[1]).stem].append(f"{match[2]}: {match[3]}")
    return found


def module_of(page: Path) -> str:
    return f"{page.stem.lower().replace('-', '_')}_page"


def snippets_of(page: Path) -> str:
    """All snippets as one module, each on the lines that it has in the page."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * (text.count("\n") + 1)
    for snippet in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        first = text.count("\n", 0, snippet.start(1))
        code = snippet[1].replace(*SDK_AS_ANY).splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_snippets_of_a_page_have_correct_types(page: Path, errors: dict[str, list[str]]) -> None:
    assert errors.get(module_of(page), []) == []


@pytest.mark.parametrize("dag", DAGS, ids=lambda dag: dag.stem)
def test_the_example_dags_have_correct_types(dag: Path, errors: dict[str, list[str]]) -> None:
    assert errors.get(dag.stem, []) == []


def test_five_mapped_steps_that_hand_xcom_args_on_have_correct_types(errors: dict[str, list[str]]) -> None:
    assert errors.get("five_mapped_steps", []) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused(mistake: str, errors: dict[str, list[str]]) -> None:
    line = textwrap.dedent(PRELUDE).count("\n") + 1 + list(MISTAKES).index(mistake)

    said = [error.partition(": ")[2] for error in errors["mistakes"] if error.startswith(f"{line}: ")]

    assert any(MISTAKES[mistake] in message for message in said), said


def test_the_arguments_of_every_task_are_those_of_airflow() -> None:
    of_sensors = set(_airflow_arguments.SensorArguments.__annotations__)

    # Older releases of Airflow have fewer.
    assert parameters(BaseOperator) <= set(_airflow_arguments.BaseOperatorArguments.__annotations__)
    assert parameters(BaseSensorOperator) - {"timeout", "poke_interval"} <= of_sensors


def parameters(operator: type) -> set[str]:
    return {
        name
        for name, parameter in inspect.signature(operator.__init__).parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
