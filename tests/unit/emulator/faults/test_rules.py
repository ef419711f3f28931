"""Fault rules fire as specified, and depend on nothing else."""

from __future__ import annotations

import msgspec
import pytest

from airflow_gemini_batch.emulator.faults.kinds import (
    HttpFault,
    JobFault,
    RowFault,
    Rule,
    chance,
    matches_call,
    matches_job,
    parse_fault,
)


@pytest.mark.parametrize(
    ("fault", "strikes"),
    [
        (JobFault(), [True, True, True, True]),
        (JobFault(count=2), [True, True, False, False]),
        (JobFault(nth=2), [False, True, False, False]),
        (JobFault(nth=2, count=2), [False, True, True, False]),
        (JobFault(probability=0), [False, False, False, False]),
    ],
)
def test_a_rule_fires_at_the_right_matches(fault, strikes):
    rule = Rule(1, fault)

    assert [rule.fires() for _ in strikes] == strikes
    assert (rule.seen, rule.fired) == (4, sum(strikes))


@pytest.mark.parametrize(
    ("fault", "method", "path", "matches"),
    [
        (HttpFault(do="drop"), "GET", "/v1/x", True),
        (HttpFault(do="drop", method="post"), "POST", "/v1/x", True),
        (HttpFault(do="drop", method="POST"), "GET", "/v1/x", False),
        (HttpFault(do="drop", path=":batch.*Content$"), "POST", "/v1/models/m:batchGenerateContent", True),
        (HttpFault(do="drop", path="upload_id="), "POST", "/upload/v1/files?upload_id=3", True),
    ],
)
def test_calls_are_matched_by_method_and_path(fault, method, path, matches):
    assert matches_call(fault, method, path) is matches


def test_jobs_are_matched_by_name_and_model():
    assert matches_job(JobFault(display_name="^a", model="flash"), "abc", "models/gemini-2.5-flash")
    assert not matches_job(JobFault(display_name="^b"), "abc", "models/gemini-2.5-flash")


@pytest.mark.parametrize(
    ("fault", "line", "key", "strikes"),
    [
        (RowFault(do="torn"), 1, "a", True),
        (RowFault(do="torn", keys=("a",)), 1, "a", True),
        (RowFault(do="torn", keys=("a",)), 1, "b", False),
        (RowFault(do="torn", lines=(2,)), 2, None, True),
        (RowFault(do="torn", lines=(2,)), 1, None, False),
        (RowFault(do="torn", fraction=0), 1, "a", False),
    ],
)
def test_rows_are_chosen_by_key_line_and_fraction(fault, line, key, strikes):
    assert fault.matches(line, key) is strikes


def test_a_fraction_of_many_rows_is_chosen():
    struck = sum(RowFault(do="missing", fraction=0.3, seed=4).matches(line, str(line)) for line in range(5000))

    assert 1400 < struck < 1600
    assert chance(1, "x") == chance(1, "x") != chance(2, "x")


@pytest.mark.parametrize("fault", [HttpFault(do="status", status=429), JobFault(do="hang"), RowFault(do="torn", keys=("a",))])
def test_a_rule_is_the_same_on_the_wire(fault):
    assert parse_fault(msgspec.json.encode(fault)) == fault


@pytest.mark.parametrize(
    "text", ['{"on": "http"}', '{"on": "moon"}', '{"on": "job", "do": "fall"}', '{"on": "job", "colour": 1}', "{"]
)
def test_an_invalid_rule_is_refused(text):
    with pytest.raises(msgspec.DecodeError):
        parse_fault(text)
