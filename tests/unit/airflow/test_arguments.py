"""A mistake in an argument is an import error of the DAG file, not of a task that runs hours later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, ObjectStoragePath

from airflow_gemini_batch import (
    BatchOptions,
    GeminiBatchBuildOperator,
    GeminiBatchDiscardOperator,
    GeminiBatchDownloadOperator,
    GeminiBatchEstimateOperator,
    GeminiBatchFinishOperator,
    GeminiBatchOperator,
    GeminiBatchPlanOperator,
    GeminiBatchRedriveOperator,
    GeminiBatchSensor,
    GeminiBatchSubmitOperator,
    GenerateRequest,
    InputError,
)

TABLE: dict[str, Any] = {
    "source": "in.parquet",
    "request": GenerateRequest(prompt="${text}"),
    "model": "gemini-3.6-flash",
    "destination": "out",
}
OPERATORS: dict[type[BaseOperator], dict[str, Any]] = {
    GeminiBatchOperator: TABLE,
    GeminiBatchBuildOperator: TABLE,
    GeminiBatchPlanOperator: {**TABLE, "key": "id"},
    GeminiBatchEstimateOperator: {name: value for name, value in TABLE.items() if name != "destination"},
    GeminiBatchSubmitOperator: {"shard": {}},
    GeminiBatchSensor: {"job": {}},
    GeminiBatchDownloadOperator: {"job": {}},
    GeminiBatchFinishOperator: {"destination": "out"},
    GeminiBatchRedriveOperator: {"destination": "out"},
}
every_operator = pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
BAD_OPTIONS = [
    ({"transport": "inlin"}, "transport is 'inlin'; expected 'file', 'inline' or 'auto'"),
    ({"max_redrives": -3}, "max_redrives is -3"),
    ({"poll_interval": 0}, "poll_interval is 0"),
    ({"poll_intervall": 1}, "no field 'poll_intervall'. Did you mean 'poll_interval'"),
]


@every_operator
@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=lambda value: "")
def test_a_bad_option_is_refused_when_the_operator_is_made(kind: type[BaseOperator], options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(task_id="t", options=options, **OPERATORS[kind])


@every_operator
def test_a_bad_option_is_refused_when_the_operator_is_mapped(kind: type[BaseOperator]) -> None:
    with pytest.raises(InputError, match="transport is 'inlin'"):
        kind.partial(task_id="t", options={"transport": "inlin"})


@every_operator
def test_default_args_set_the_options_of_every_operator(kind: type[BaseOperator]) -> None:
    with DAG("d", schedule=None, default_args={"options": {"timeout": 60, "poll_interval": 5}}):
        task: Any = kind(task_id="t", **OPERATORS[kind])

    assert task.options == BatchOptions(timeout=timedelta(minutes=1), poll_interval=5)


@every_operator
def test_an_argument_that_does_not_exist_is_refused(kind: type[BaseOperator]) -> None:
    with pytest.raises(TypeError, match="max_redrives"):
        kind(task_id="t", max_redrives=3, **OPERATORS[kind])


@pytest.mark.parametrize("kind", [GeminiBatchOperator, GeminiBatchBuildOperator, GeminiBatchPlanOperator])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"request": "Repeat ${body}"}, "request is 'Repeat .*; expected a GenerateRequest"),
        ({"model": ""}, "model is ''; expected the name of a model"),
        ({"model": None}, "model is None"),
        ({"destination": 3}, "destination is 3; expected the URI of a folder"),
        ({"key": 3}, "key is 3; expected the name of a column"),
        ({"carry": "body"}, "carry is 'body'; expected a list of column names"),
        ({"carry": [1]}, r"carry is \[1\]"),
        ({"labels": "team"}, "labels is 'team'; expected a dict of texts"),
        ({"labels": {"team": 3}}, "labels is {'team': 3}"),
        ({"labels": {"": "search"}}, "labels is"),
        ({"if_exists": "overwrite"}, "if_exists is 'overwrite'; expected 'resume' or 'replace'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_argument_names_its_value_and_what_is_allowed(kind: type[BaseOperator], arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(task_id="t", **{**TABLE, **arguments})


@pytest.mark.parametrize("limit", [0, -1.5, float("nan"), float("inf"), True, "0.5", "much", "", [1]], ids=repr)
@pytest.mark.parametrize("kind", [GeminiBatchOperator, GeminiBatchBuildOperator, GeminiBatchPlanOperator])
def test_a_limit_that_is_not_an_amount_is_refused(kind: type[BaseOperator], limit: Any) -> None:
    with pytest.raises(InputError, match=r"max_cost_usd is .*; expected an amount above 0 in USD, the template of one, or None"):
        kind(task_id="t", max_cost_usd=limit, **TABLE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trial": 3}, "trial is 3; expected the destination of a finished run with sample"),
        ({"trial": ""}, "trial is ''"),
        ({"count_tokens": 1}, "count_tokens is 1; expected a whole number of requests from 2"),
        ({"count_tokens": 50.0}, "count_tokens is 50.0"),
        ({"key": 3}, "key is 3"),
        ({"reuse": 3}, "reuse is 3"),
        ({"dedupe": "no"}, "dedupe is 'no'"),
    ],
    ids=str,
)
def test_a_bad_argument_of_an_estimate_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GeminiBatchEstimateOperator(task_id="t", **{**OPERATORS[GeminiBatchEstimateOperator], **arguments})
    with pytest.raises(InputError, match=message):
        GeminiBatchEstimateOperator.partial(task_id="t", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"destination": 3}, "destination is 3; expected the URI of a folder"),
        ({"reasons": ["BROKEN"]}, r"reasons is \['BROKEN'\]; expected a list of reasons \(INVALID_INPUT, .*RECITATION"),
        ({"reasons": "JOB_CANCELLED"}, "reasons is 'JOB_CANCELLED'; expected a list"),
        ({"keys": "k1"}, "keys is 'k1'; expected a list of keys"),
        ({"keys": [1]}, r"keys is \[1\]"),
        ({"message": ""}, "message is ''; expected a text that the message contains"),
        ({"codes": "429"}, "codes is '429'; expected a list of codes"),
        ({"codes": [True]}, r"codes is \[True\]; expected a list of codes"),
        ({"retryable": "yes"}, "retryable is 'yes'; expected True, False"),
        ({"limit": 0}, "limit is 0; expected a whole number of dead letters from 1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [GeminiBatchRedriveOperator, GeminiBatchDiscardOperator])
def test_a_bad_selection_of_dead_letters_is_refused(kind: type[BaseOperator], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(task_id="t", **{"destination": "out", **arguments})
    with pytest.raises(InputError, match=message):
        kind.partial(task_id="t", **{"destination": "out", **arguments})


@pytest.mark.parametrize("arguments", [{"deferrable": 1}, {"include_discarded": "yes"}], ids=str)
def test_a_bad_argument_of_a_redrive_is_refused(arguments: dict[str, Any]) -> None:
    [(name, value)] = arguments.items()
    with pytest.raises(InputError, match=f"{name} is {value!r}; expected True or False"):
        GeminiBatchRedriveOperator(task_id="t", destination="out", **arguments)


def test_what_a_redrive_learns_when_it_runs_is_accepted() -> None:
    with DAG("d", schedule=None):
        first = GeminiBatchOperator(task_id="a", **TABLE)
        second = GeminiBatchRedriveOperator(
            task_id="b", destination=first.output, reasons=["{{ params.reason }}", "RECITATION"], keys=first.output["keys"]
        )
        GeminiBatchRedriveOperator(task_id="c", destination={"destination": "out"}, keys="{{ params.keys }}")
        GeminiBatchRedriveOperator.partial(task_id="e", reasons=["MISSING"]).expand(destination=["s3://a/b", "s3://a/c"])

    assert first.downstream_task_ids == {second.task_id}


def test_templates_paths_and_outputs_of_other_tasks_are_accepted() -> None:
    with DAG("d", schedule=None):
        first = GeminiBatchOperator(
            task_id="a", **{**TABLE, "model": "{{ params.model }}", "destination": ObjectStoragePath("file:///out")}
        )
        second = GeminiBatchOperator(task_id="b", **{**TABLE, "model": first.output, "destination": first.output})

    assert first.downstream_task_ids == {second.task_id}


@pytest.mark.parametrize("argument", ["timeout", "poke_interval"])
def test_the_sensor_takes_its_timeout_and_interval_from_the_options(argument: str) -> None:
    with pytest.raises(InputError, match=f"does not accept {argument}; set "):
        GeminiBatchSensor(task_id="t", job={}, **{argument: 5})  # type: ignore[arg-type, typeddict-item]
    with pytest.raises(InputError, match=f"does not accept {argument}; set "):
        GeminiBatchSensor.partial(task_id="t", **{argument: 5})


def test_the_sensor_passes_its_timeout_and_interval_to_airflow() -> None:
    sensor = GeminiBatchSensor(task_id="t", job={}, options={"timeout": 60, "poll_interval": 5})  # type: ignore[typeddict-item]

    assert (sensor.timeout, sensor.poke_interval) == (60, 5)
