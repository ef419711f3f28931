"""Patterns of callers: what they match, and that none of them can hold the emulator up."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.emulator.answers.structured import SchemaRefused, structured_value
from airflow_gemini_batch.emulator.faults.kinds import (
    FileFault,
    HttpFault,
    JobFault,
    RowFault,
    WebhookFault,
    matches_call,
    matches_file,
    matches_job,
    matches_webhook,
    parse_fault,
)
from airflow_gemini_batch.emulator.patterns import first_match, is_found, why_refused

#: With a matcher that backtracks, each would take longer than the universe has existed.
ENDLESS = ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", r"^(.*a){30}$", r"^(\w+\s?)*$"]
BAIT = "a" * 2000 + "!"


@pytest.mark.parametrize("pattern", ENDLESS)
def test_no_pattern_backtracks(pattern: str):
    assert not is_found(pattern, BAIT + "\n!!")
    assert not matches_call(HttpFault(do="drop", path=pattern), "GET", BAIT)
    assert not matches_file(FileFault(display_name=pattern), BAIT, "text/plain")
    assert not matches_job(JobFault(display_name=pattern), BAIT, "models/m")
    assert not matches_job(RowFault(do="torn", model=pattern), "job", BAIT)
    assert not matches_webhook(WebhookFault(do="late", event=pattern), BAIT, "http://x")


@pytest.mark.parametrize("pattern", ENDLESS)
def test_the_pattern_of_a_schema_does_not_backtrack(pattern: str):
    schema = {"type": "string", "pattern": f"{pattern}"}

    assert isinstance(structured_value(schema, f"Repeat: {BAIT}", 1), str)


def test_a_pattern_with_a_lookahead_is_not_followed_and_a_broken_one_refused():
    assert isinstance(structured_value({"type": "string", "pattern": "^(?=.*b)a+$"}, "Repeat: it rains.", 1), str)
    with pytest.raises(SchemaRefused):
        structured_value({"type": "string", "pattern": "("}, "Repeat: it rains.", 1)


@given(st.sampled_from([r"attempt 0\b", "^shard-[1-3]$", r"/batches(\?|$)", ":batch.*Content$", "a|b", ""]), st.text(max_size=40))
def test_a_match_is_that_of_pythons_search(pattern: str, text: str):
    for candidate in (text, "attempt 0", "attempt 01", "shard-2", "/v1/batches?x", "/v1/m:batchGenerateContent"):
        if "\n" not in candidate:
            assert is_found(pattern, candidate) is (re.search(pattern, candidate, re.ASCII) is not None)


def test_a_lone_surrogate_in_a_text_is_no_error():
    assert is_found("b", "a\ud800b")


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "a" * 1001])
def test_a_pattern_that_cannot_be_used_is_refused_with_its_field(pattern: str):
    fault = msgspec.json.encode({"on": "job", "display_name": pattern})

    assert why_refused(pattern)
    with pytest.raises(msgspec.ValidationError, match="display_name is not an RE2 regular expression"):
        parse_fault(fault)


def test_the_first_text_that_matches_is_returned():
    assert first_match("^b", ["a", "b1", "b2"]) == "b1"
    assert first_match("^c", ["a"]) is None
    assert first_match("", []) is None
