"""Jinja is rendered for the DAG run, ``${column}`` for the row, and row data is never rendered."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pydantic
import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.definitions.mappedoperator import MappedOperator
from google.genai import types

from airflow_gemini_batch import (
    BatchOptions,
    EmbedRequest,
    GeminiBatchBuildOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchFinishOperator,
    GeminiBatchOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
    RawRequest,
)
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.specs import request_of

try:
    from airflow.serialization.helpers import serialize_template_field
except ImportError:
    from airflow.sdk.execution_time.task_runner import _serialize_template_field as serialize_template_field
try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

CONTEXT: Any = {"ds": "2026-11-21", "params": {"lang": "French"}}
REQUEST = GenerateRequest(
    prompt="Since {{ ds }}, in {{ params.lang }}: ${text} costs $$5",
    system_instruction="You write {{ params.lang }} for ${reader}.",
    config={"temperature": 0.2},
)


REFERENCE: Any = {"destination": "d", "shard": 7, "attempt": 1, "rows": 1, "requests": 1, "job": "batches/a", "state": None}


def as_row(row: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": row["text"]}]}]}


def operator(**arguments: Any) -> GeminiBatchOperator:
    given = {
        "task_id": "describe",
        "source": "s3://bucket/{{ ds }}/*.parquet",
        "request": REQUEST,
        "model": "gemini-3.6-flash",
        "destination": "s3://bucket/out/{{ ds }}",
    }
    return GeminiBatchOperator(**{**given, **arguments})


@pytest.mark.parametrize("kind", [GeminiBatchOperator, GeminiBatchBuildOperator])
def test_the_request_is_rendered_and_its_placeholders_survive(kind: type[BaseOperator]) -> None:
    task = kind(
        task_id="t", source="in {{ ds }}", request=REQUEST, model="{{ params.lang }}", destination="out {{ ds }}", key="k{{ ds }}"
    )

    task.render_template_fields(CONTEXT)

    assert task.request == GenerateRequest(
        prompt="Since 2026-11-21, in French: ${text} costs $$5",
        system_instruction="You write French for ${reader}.",
        config={"temperature": 0.2},
    )
    rendered = (task.source, task.model, task.destination, task.key)
    assert rendered == ("in 2026-11-21", "French", "out 2026-11-21", "k2026-11-21")


def test_the_text_of_an_embed_request_is_rendered_and_its_placeholders_survive() -> None:
    task = operator(request=EmbedRequest(text="{{ ds }}: ${text} for $$5", config={"title": "{{ ds }}"}))

    task.render_template_fields(CONTEXT)

    assert task.request == EmbedRequest(text="2026-11-21: ${text} for $$5", config={"title": "2026-11-21"})


TOOL = {"function_declarations": [{"name": "f", "description": "{{ ds }}"}]}


@pytest.mark.parametrize(
    "config",
    [
        {"system_instruction": "On {{ ds }}: ${text}", "stop_sequences": ["{{ ds }}"], "tools": [TOOL]},
        {"system_instruction": types.Part(text="On {{ ds }}: ${text}"), "tools": [types.Tool.model_validate(TOOL)]},
        types.GenerateContentConfig(system_instruction="On {{ ds }}: ${text}", tools=[types.Tool.model_validate(TOOL)]),
        types.GenerateContentConfig(
            system_instruction=types.Content(parts=[types.Part(text="On {{ ds }}: ${text}")]),
            safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="OFF")],
        ),
        {
            "system_instruction": ["On {{ ds }}: ${text}"],
            "safety_settings": [
                {"category": types.HarmCategory.HARM_CATEGORY_HARASSMENT, "threshold": types.HarmBlockThreshold.OFF}
            ],
        },
    ],
    ids=str,
)
def test_every_text_of_a_config_is_rendered(config: Any) -> None:
    task = operator(request=GenerateRequest(prompt="${text}", config=config))

    task.render_template_fields(CONTEXT)

    encoder = compile_request(task.request, pa.schema([("text", pa.string())]), "m")
    sent = encoder.encode(pa.record_batch({"text": ["x {{ ds }}"]})).rows()[0]
    written = json.loads(sent)
    assert written["system_instruction"]["parts"][0]["text"] == "On 2026-11-21: x {{ ds }}"
    assert written["contents"][0]["parts"][0]["text"] == "x {{ ds }}"
    assert json.dumps(written).count("{{") == 2
    if "safety_settings" in written:
        assert written["safety_settings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]


@pytest.mark.parametrize("as_text", [False, True])
def test_the_texts_of_a_response_schema_are_rendered(as_text: bool) -> None:
    schema = {"type": "object", "description": "On {{ ds }}"}
    task = operator(request=GenerateRequest(prompt="x", response_schema=json.dumps(schema) if as_text else schema))

    task.render_template_fields(CONTEXT)

    assert "On 2026-11-21" in str(task.request.response_schema)


def test_a_config_without_jinja_stays_the_object_that_it_is() -> None:
    config = types.GenerateContentConfig(system_instruction="For ${text}")
    task = operator(request=GenerateRequest(prompt="x", config=config, response_schema=list[str]))

    task.render_template_fields(CONTEXT)

    assert task.request.config is config
    assert task.request.response_schema == list[str]


def test_rows_given_as_dicts_are_not_rendered() -> None:
    task = operator(source=[{"text": "{{ ds }}"}])

    task.render_template_fields(CONTEXT)

    assert list(task.source) == [{"text": "{{ ds }}"}]
    DagSerialization.serialize_dag(_dag_of(operator, source=[{"text": "{{ ds }}"}]))


def _dag_of(make: Any, **arguments: Any) -> DAG:
    with DAG("rows") as dag:
        make(**arguments)
    return dag


def test_a_request_that_several_tasks_share_is_not_changed() -> None:
    first, second = operator(), operator(task_id="other")

    first.render_template_fields(CONTEXT)
    second.render_template_fields({**CONTEXT, "ds": "2027-01-01"})

    assert "{{ ds }}" in REQUEST.prompt
    assert "2026-11-21" in first.request.prompt
    assert "2027-01-01" in second.request.prompt


@pytest.mark.parametrize("request_", [RawRequest("request"), as_row, lambda row: {}], ids=["raw", "function", "lambda"])
def test_other_requests_are_not_changed(request_: Any) -> None:
    task = operator(request=request_)

    task.render_template_fields(CONTEXT)

    assert task.request is request_


@pytest.mark.parametrize("table", [pd.DataFrame, pa.table], ids=["pandas", "arrow"])
def test_rows_are_never_rendered(table: Any) -> None:
    rows = {"text": ["{{ ds }}", "${text}", "{% raw %}"]}
    task = operator(source=table(rows))

    task.render_template_fields(CONTEXT)

    assert [str(text) for text in task.source["text"]] == rows["text"]


def test_the_output_of_an_upstream_task_is_never_rendered() -> None:
    """References and tables come out of XCom unchanged, even if they resemble templates."""

    class Upstream:
        def resolve(self, context: Any) -> Any:
            return {"destination": "{{ ds }}", "shard": 0, "rows": 1, "requests": 1}

    task = GeminiBatchSubmitOperator(task_id="submit", shard=Upstream())  # type: ignore[arg-type]

    task.render_template_fields(CONTEXT)

    assert task.shard["destination"] == "{{ ds }}"


INJECTED = {
    "type": "generate",
    "prompt": "{{ 1 / 0 }} {{ params.lang }}: ${text}",
    "system_instruction": "{{ ds }}",
    "config": {"stop_sequences": ["{{ ds }}"]},
    "response_schema": {"type": "object", "description": "{{ ds }}"},
}


class Upstream:
    """The output of an upstream task, as Airflow resolves it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def iter_references(self) -> Any:
        return iter(())

    def resolve(self, context: Any) -> Any:
        return self.value


@pytest.mark.parametrize("form", ["dict", "object"])
@pytest.mark.parametrize("given", ["the value", "the task"])
def test_nothing_is_rendered_in_a_request_that_an_upstream_task_returns(form: str, given: str) -> None:
    """Its texts may be data, and a template in them could read connections and variables."""
    value: Any = INJECTED if form == "dict" else request_of(INJECTED)
    task = operator(request=value if given == "the value" else Upstream(value))

    task.render_template_fields(CONTEXT)

    assert task.request.serialize() == INJECTED
    assert task.destination == "s3://bucket/out/2026-11-21"


def test_a_request_from_an_upstream_task_is_checked() -> None:
    with pytest.raises(InputError, match="'poem'"):
        operator(request={"type": "poem"})
    task = operator(request=Upstream("a prompt"))
    with pytest.raises(InputError, match="expected a GenerateRequest"):
        task.render_template_fields(CONTEXT)


class Parsed(pydantic.BaseModel):
    summary: str


def shown(task: BaseOperator, field: str) -> Any:
    return serialize_template_field(getattr(task, field), field)


def test_what_a_task_does_is_shown_with_its_rendered_templates() -> None:
    request_ = GenerateRequest(
        prompt="On {{ ds }}: ${text}", config=types.GenerateContentConfig(temperature=0.5), response_schema=Parsed, media=["m"]
    )
    task = operator(request=request_, carry=["a", "{{ params.lang }}"], options={"timeout": 60, "transport": "inline"})

    task.render_template_fields(CONTEXT)

    spec = shown(task, "request_spec")
    assert (spec["type"], spec["prompt"], spec["config"]) == ("generate", "On 2026-11-21: ${text}", {"temperature": 0.5})
    assert (spec["media"], spec["response_schema"]["properties"]["summary"]) == (["m"], {"title": "Summary", "type": "string"})
    assert shown(task, "carry") == ["a", "French"]
    assert (shown(task, "options")["timeout"], shown(task, "options")["transport"]) == (60.0, "inline")
    assert task.request.response_schema is Parsed
    assert isinstance(task.options, BatchOptions)


def test_a_function_is_shown_by_its_name() -> None:
    assert shown(operator(request=as_row), "request_spec") == "function as_row"


@pytest.mark.parametrize(
    "task",
    [
        GeminiBatchSubmitOperator(task_id="t", shard=REFERENCE, options={"max_active_jobs": 3}),
        GeminiBatchSensor(task_id="t", job=REFERENCE, options={"max_active_jobs": 3}),
        GeminiBatchDownloadOperator(task_id="t", job=REFERENCE, options={"max_active_jobs": 3}),
    ],
    ids=lambda task: type(task).__name__,
)
def test_a_step_shows_its_options_and_names_its_shard(task: Any) -> None:
    task.render_template_fields(CONTEXT)

    assert shown(task, "options")["max_active_jobs"] == 3
    assert task.map_label == "shard 7, attempt 1"


def test_a_run_is_named_by_its_destination() -> None:
    task = operator()

    task.render_template_fields(CONTEXT)

    assert task.map_label == "s3://bucket/out/2026-11-21"


def dag_with(**arguments: Any) -> dict[str, Any]:
    with DAG("whole", schedule=None) as dag:
        operator(**arguments)
    data = DagSerialization.to_dict(dag)
    DagSerialization.from_dict(json.loads(json.dumps(data)))
    [task] = data["dag"]["tasks"]
    return dict(task["__var"])


@pytest.mark.parametrize(
    "request_",
    [REQUEST, EmbedRequest(text="{{ ds }} ${text}"), RawRequest("request"), as_row, lambda row: {}],
    ids=["generate", "embed", "raw", "function", "lambda"],
)
def test_a_dag_with_any_request_is_serialized(request_: Any) -> None:
    options = BatchOptions(timeout=timedelta(hours=1))

    assert dag_with(request=request_, options=options) == dag_with(request=request_, options=options)


def test_the_templates_are_in_the_serialized_dag() -> None:
    task = dag_with()

    assert task["prompt"] == REQUEST.prompt
    assert task["system_instruction"] == REQUEST.system_instruction
    assert "request" not in task


def test_a_table_in_the_dag_file_is_not_in_the_serialized_dag() -> None:
    table = pd.DataFrame({"text": ["x" * 100] * 50_000})

    assert len(json.dumps(dag_with(source=table))) < 10_000


def test_the_mapped_steps_are_serialized_with_their_dependencies() -> None:
    with DAG("steps", schedule=None) as dag:
        built = GeminiBatchBuildOperator(task_id="build", source="in", request=as_row, model="m", destination="out")
        jobs = GeminiBatchSubmitOperator.partial(task_id="submit").expand(shard=built.output)
        done = GeminiBatchSensor.partial(task_id="wait", deferrable=True, options={"poll_interval": 1}).expand(job=jobs.output)
        parts = GeminiBatchDownloadOperator.partial(task_id="download").expand(job=done.output)
        finish = GeminiBatchFinishOperator(task_id="finish", destination="out")
        parts >> finish  # type: ignore[operator]

    scheduled = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))

    assert {name: sorted(task.downstream_task_ids) for name, task in scheduled.task_dict.items()} == {
        "build": ["submit"],
        "submit": ["wait"],
        "wait": ["download"],
        "download": ["finish"],
        "finish": [],
    }
    assert scheduled.task_dict["finish"].trigger_rule == "all_done"
    assert isinstance(jobs, MappedOperator)


def test_one_operator_can_be_mapped_over_sources() -> None:
    with DAG("many", schedule=None) as dag:
        GeminiBatchOperator.partial(task_id="describe", request=REQUEST, model="m").expand_kwargs(
            [{"source": f"in-{n}", "destination": f"out-{n}"} for n in range(2)]
        )

    DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))


def test_an_argument_from_an_upstream_task_makes_a_dependency() -> None:
    with DAG("flow", schedule=None) as dag:
        built = GeminiBatchBuildOperator(task_id="first", source="in", request=as_row, model="m", destination="out")
        operator(source=built.output, request=GenerateRequest(prompt=built.output))  # type: ignore[arg-type]

    assert dag.task_dict["first"].downstream_task_ids == {"describe"}
