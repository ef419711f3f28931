"""Real serialization, mapping, trigger rules and retries of Airflow, with ``dag.test()``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault
from tests.integration.airflow.conftest import created, read

RunDag = Callable[..., Any]

pytestmark = pytest.mark.timeout(240)


def test_one_operator_does_a_whole_run(run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator) -> None:
    ran = run_dag(
        """
        GeminiBatchOperator(
            task_id="describe",
            source=SOURCE,
            request=GenerateRequest(prompt="On {{ ds }} repeat: ${body}"),
            model=MODEL,
            destination=DESTINATION + "/{{ dag.dag_id }}",
            key="id",
            carry=["body"],
            options={"max_shard_requests": 5, "poll_interval": 0.2},
        )
        """,
        SOURCE=source,
        DESTINATION=str(tmp_path),
    )

    assert (ran.state, ran.tasks, ran.errors) == ("success", {"describe": ["success"]}, [])
    assert (ran["describe"]["results"], ran["describe"]["balanced"]) == (12, True)
    assert len(read(tmp_path / "test_one_operator_does_a_whole_run" / "results")) == 12
    assert len(created(emulator)) == 3


def test_a_table_from_an_upstream_task_is_a_source(run_dag: RunDag, tmp_path: Path) -> None:
    ran = run_dag(
        """
        @task
        def collect():
            import pandas as pd
            return pd.DataFrame({"text": ["{{ ds }}", "${text}", None]})

        def ask(row):
            return {"contents": [{"parts": [{"text": "Repeat: " + row["text"]}]}]}

        GeminiBatchOperator(
            task_id="describe", source=collect(), request=ask, model=MODEL, destination=DESTINATION,
            options={"poll_interval": 0.2},
        )
        """,
        DESTINATION=str(tmp_path / "run"),
    )

    assert ran.state == "success"
    assert (ran["describe"]["results"], ran["describe"]["reasons"]) == (2, {"INVALID_INPUT": 1})
    assert ["{{ ds }}" in row["text"] or "${text}" in row["text"] for row in read(tmp_path / "run" / "results")] == [True, True]


BUILD = """
built = GeminiBatchBuildOperator(
    task_id="build",
    source=SOURCE,
    request=GenerateRequest(prompt="Repeat: ${body}"),
    model=MODEL,
    destination=DESTINATION,
    key="id",
    options={"max_shard_requests": 5},
)
"""

STEPS = f"""{BUILD}
jobs = GeminiBatchSubmitOperator.partial(task_id="submit").expand(shard=built.output)
done = GeminiBatchSensor.partial(task_id="wait", options={{"poll_interval": 0.2}}).expand(job=jobs.output)
parts = GeminiBatchDownloadOperator.partial(task_id="download").expand(job=done.output)
parts >> GeminiBatchFinishOperator(task_id="finish", destination=DESTINATION)
"""


def test_the_mapped_steps_finish_a_run(run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator) -> None:
    ran = run_dag(STEPS, SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert (ran.state, ran.errors) == ("success", [])
    assert ran.tasks["download"] == ["success"] * 3
    assert [part["results"] for part in ran.returned["download"]] == [5, 5, 2]
    assert ran["finish"]["balanced"]
    assert len(created(emulator)) == 3


IN_A_GROUP = f"""{BUILD}
@task_group
def one_shard(shard):
    job = GeminiBatchSubmitOperator(task_id="submit", shard=shard)
    done = GeminiBatchSensor(task_id="wait", job=job.output, options={{"poll_interval": 0.2}})
    GeminiBatchDownloadOperator(task_id="download", job=done.output)

one_shard.expand(shard=built.output) >> GeminiBatchFinishOperator(task_id="finish", destination=DESTINATION)
"""


def test_a_mapped_task_group_of_steps_finishes_a_run(run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator) -> None:
    ran = run_dag(IN_A_GROUP, SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert (ran.state, ran.errors) == ("success", [])
    assert ran.tasks["one_shard.download"] == ["success"] * 3
    assert ran["finish"]["balanced"]
    assert len(created(emulator)) == 3


@pytest.mark.parametrize("form", [STEPS, IN_A_GROUP], ids=["steps", "group"])
def test_a_failing_shard_does_not_keep_others_from_being_collected(
    form: str, run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(JobFault(do="hang", display_name="shard 1"))

    ran = run_dag(
        form.replace('"poll_interval": 0.2}', '"poll_interval": 0.2, "timeout": 3}'),
        SOURCE=source,
        DESTINATION=str(tmp_path / "run"),
    )

    assert ran.state == "failed"
    assert len(read(tmp_path / "run" / "results")) == 7
    assert "1 of 3 shards have not been collected" in str(ran.errors[-1])


def test_a_definite_refusal_is_not_retried(run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(HttpFault(do="status", status=400, path=":batchGenerateContent"))

    ran = run_dag(STEPS, SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert ran.tasks["submit"] == ["failed"] * 3
    assert len([error for error in ran.errors if "RefusedError" in str(error)]) == 3
    assert created(emulator) == []


def test_a_wrong_key_fails_the_build_which_is_not_retried(
    run_dag: RunDag, tmp_path: Path, connect: Any, emulator: Emulator
) -> None:
    connect(password="invalid-key-of-someone")

    ran = run_dag(STEPS, SOURCE="/nowhere/rows.parquet", DESTINATION=str(tmp_path / "run"))

    assert ran.tasks["build"] == ["failed"]
    assert len([error for error in ran.errors if "API key not valid" in str(error)]) == 1
    assert not [file for file in (tmp_path / "run").rglob("*") if file.is_file()]


REQUESTS = """
@task
def requests():
    return {returned}

runs = GeminiBatchOperator.partial(
    task_id="describe",
    source=SOURCE,
    model=MODEL,
    key="id",
    carry=["body"],
    options={{"poll_interval": 0.2}},
    map_index_template="{{{{ task.map_label }}}}",
).{expand}
"""

OBJECTS = """[
    GenerateRequest(prompt="Repeat: ${body}", response_schema=None, config={"temperature": 0.5}),
    GenerateRequest(prompt="{{ ds }} ${body}"),
]"""
DICTS = """[
    {"type": "generate", "prompt": "Repeat: ${body}", "config": {"temperature": 0.5}},
    {"type": "generate", "prompt": "{{ ds }} ${body}"},
]"""
ZIPPED = """expand_kwargs(
    requests().map(lambda request: {"request": request, "destination": f"{DESTINATION}/{len(str(request))}"})
)"""


@pytest.mark.parametrize("returned", [OBJECTS, DICTS], ids=["objects", "dicts"])
def test_requests_from_an_upstream_task_are_mapped_over(
    returned: str, run_dag: RunDag, source: str, tmp_path: Path, emulator: Emulator
) -> None:
    if returned is OBJECTS and importlib.util.find_spec("airflow.sdk.serde") is None:
        pytest.skip("before Airflow 3.3 the configuration must allow the classes")

    ran = run_dag(REQUESTS.format(returned=returned, expand=ZIPPED), SOURCE=source, DESTINATION=str(tmp_path))

    assert (ran.state, ran.errors) == ("success", [])
    assert ran.tasks["describe"] == ["success"] * 2
    assert [run["results"] for run in ran.returned["describe"]] == [12, 12]
    prompts = [shown["request_spec"]["prompt"] for shown in ran.shown["describe"]]
    assert prompts == ["Repeat: ${body}", "{{ ds }} ${body}"], "what comes from a task is not rendered"


@pytest.mark.parametrize("returned", ["[EmbedRequest(text='${body}')]", "[{'type': 'embed', 'text': '${body}'}]"])
def test_a_request_is_the_only_thing_that_is_mapped(returned: str, run_dag: RunDag, source: str, tmp_path: Path) -> None:
    body = REQUESTS.format(returned=returned, expand="expand(request=requests())").replace("model=MODEL", "model=EMBEDS")
    body = body.replace("source=SOURCE", "source=SOURCE, destination=DESTINATION")

    ran = run_dag(body, SOURCE=source, DESTINATION=str(tmp_path / "run"), EMBEDS="gemini-embedding-001")

    assert (ran.state, ran.errors) == ("success", [])
    assert [run["results"] for run in ran.returned["describe"]] == [12]
    [shown] = ran.shown["describe"]
    assert shown["request_spec"] == {"type": "embed", "text": "${body}"}
    assert shown["carry"] == ["body"]
    assert "poll_interval" in str(shown["options"])
    assert ran.labels["describe"] == [str(tmp_path / "run")]


def test_one_request_from_an_upstream_task(run_dag: RunDag, source: str, tmp_path: Path) -> None:
    ran = run_dag(
        """
        @task
        def ask():
            return {"type": "generate", "prompt": "Repeat: ${body}"}

        GeminiBatchOperator(
            task_id="describe", source=SOURCE, request=ask(), model=MODEL, destination=DESTINATION, options={"poll_interval": 0.2}
        )
        """,
        SOURCE=source,
        DESTINATION=str(tmp_path / "run"),
    )

    assert (ran.state, ran["describe"]["results"]) == ("success", 12)


LABEL = "{{ task.map_label }}"


def test_mapped_steps_are_named_after_their_shards(run_dag: RunDag, source: str, tmp_path: Path) -> None:
    body = STEPS
    for step in ("submit", "wait", "download"):
        body = body.replace(f'task_id="{step}"', f'task_id="{step}", map_index_template="{LABEL}"')

    ran = run_dag(body, SOURCE=source, DESTINATION=str(tmp_path / "run"))

    assert ran.state == "success"
    for step in ("submit", "wait", "download"):
        assert ran.labels[step] == ["shard 0", "shard 1", "shard 2"]


@pytest.mark.parametrize("name", ["describe_stdlib_in_groups", "describe_stdlib_in_steps", "describe_stdlib_by_many_builders"])
def test_an_example_runs(name: str, run_file: RunDag, tmp_path: Path, emulator: Emulator) -> None:
    example = (Path(__file__).parents[3] / "dags" / f"{name}.py").read_text()

    ran = run_file(example.replace("poll_interval=10", "poll_interval=0.2"), {"folder": str(tmp_path)})

    assert (ran.state, ran["finish"]["balanced"]) == ("success", True)
    prefix = "one_shard." if name == "describe_stdlib_in_groups" else ""
    assert len(created(emulator)) == len(ran.tasks[f"{prefix}download"]) > 1
    if prefix:
        for step in ("submit", "wait", "download"):
            assert ran.labels[f"one_shard.{step}"][:2] == ["shard 0", "shard 1"]


def test_a_key_in_two_groups_fails_the_merge_and_nothing_is_sent(run_dag: RunDag, tmp_path: Path, emulator: Emulator) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.csv").write_text(f"id,body\nk,{name}\n{name},{name}\n")

    ran = run_dag(
        """
        plan = GeminiBatchPlanOperator(
            task_id="plan", source=SOURCE, request=GenerateRequest(prompt="Repeat: ${body}"), model=MODEL,
            destination=DESTINATION, key="id", groups=2,
        )
        built = GeminiBatchBuildGroupOperator.partial(task_id="build", map_index_template="{{ task.map_label }}").expand(
            group=plan.output
        )
        shards = GeminiBatchMergeOperator(task_id="merge", groups=built.output)
        GeminiBatchSubmitOperator.partial(task_id="submit").expand(shard=shards.output)
        """,
        SOURCE=str(tmp_path / "in"),
        DESTINATION=str(tmp_path / "run"),
    )

    assert ran.tasks == {"plan": ["success"], "build": ["success"] * 2, "merge": ["failed"], "submit": ["upstream_failed"]}
    assert ran.labels["build"] == ["group 0", "group 1"]
    assert any("'k' in group 0" in str(error) for error in ran.errors)
    assert created(emulator) == []
