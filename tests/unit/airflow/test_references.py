"""References between steps are plain JSON, small, and checked when they are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gemini_batch._references import JobReference, PartReference, ShardReference, as_json, read_reference
from airflow_gemini_batch.engine.errors import InputError

SHARD = ShardReference(destination="s3://lake@bucket/runs/2026-11-21", shard=3, rows=1_000, requests=998)
JOB = JobReference(**as_json(SHARD), job="batches/fkmtjmkqxbtgvr5u18j626nskf3iiacjtc0x", state="SUCCEEDED")
PART = PartReference(
    **as_json(JOB),
    results=990,
    dead_letter=10,
    reasons={"REQUEST_ERROR": 7, "BLOCKED": 1, "INVALID_INPUT": 2},
    results_uri="s3://lake@bucket/runs/2026-11-21/results/part-00003-0.parquet",
    dead_letter_uri="s3://lake@bucket/runs/2026-11-21/dead_letter/part-00003-0.parquet",
)


@pytest.mark.parametrize("reference", [SHARD, JOB, PART], ids=lambda reference: type(reference).__name__)
def test_a_reference_survives_xcom(reference: ShardReference) -> None:
    through_xcom = json.loads(json.dumps(as_json(reference)))

    assert read_reference(through_xcom, type(reference), argument="job") == reference


def test_a_reference_stays_under_a_kilobyte() -> None:
    destination = f"s3://connection_of_the_team@{'bucket' * 5}/{'folder/' * 14}"
    reasons = dict.fromkeys(["REQUEST_ERROR", "BLOCKED", "TRUNCATED", "INVALID_OUTPUT", "INVALID_INPUT", "EMPTY"], 123_456)
    uris = {name: f"{destination}/{name}/part-00003-0.parquet" for name in ("results_uri", "dead_letter_uri")}

    assert len(json.dumps({**as_json(PART), **uris, "destination": destination, "reasons": reasons})) < 1_024


def test_a_later_reference_serves_an_earlier_step() -> None:
    assert read_reference(as_json(PART), ShardReference, argument="shard") == SHARD


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (as_json(SHARD), "missing required field `job`"),
        ([as_json(JOB)], r"It is a list: map over it with .expand\(job=...\)"),
        ("batches/abc", "Expected `object`, got `str`"),
        (None, "Expected `object`, got `null`"),
        ({**as_json(JOB), "shard": "3"}, r"Expected `int`, got `str` - at `\$.shard`"),
        ({**as_json(JOB), "job": "batches/a?key=x"}, r"expected batches/<id>"),
    ],
)
def test_a_value_that_is_not_a_reference_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_reference(value, JobReference, argument="job")
