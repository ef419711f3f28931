"""Which dead letters a selection means."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.finish.selection import Selection, without

LETTERS = pa.RecordBatch.from_pylist(
    [
        dict(zip(("key", "reason", "status", "code", "retryable", "message"), letter, strict=True))
        for letter in (
            ("a", "REQUEST_ERROR", "RESOURCE_EXHAUSTED", 429, True, "Quota"),
            ("b", "REQUEST_ERROR", "INVALID_ARGUMENT", 400, False, "size 512"),
            ("c", "TRUNCATED", "MAX_TOKENS", None, False, "cut (quota of 8)"),
            ("d", "MISSING", None, None, None, None),
        )
    ]
)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({}, "abcd"),
        ({"reasons": ["TRUNCATED"]}, "c"),
        ({"reasons": ["MAX_TOKENS"]}, "c"),
        ({"reasons": []}, ""),
        ({"keys": ["a", "d"]}, "ad"),
        ({"message": "QUOTA"}, "ac"),
        ({"message": "/^Quota|\\d{3}$/"}, "ab"),
        ({"message": "/(?i)^quota$/"}, "a"),
        ({"message": "(quota of"}, "c"),
        ({"message": "/"}, ""),
        ({"codes": [429, 503]}, "a"),
        ({"codes": []}, ""),
        ({"retryable": True}, "a"),
        ({"retryable": False}, "bc"),
        ({"reasons": ["REQUEST_ERROR"], "codes": [400], "message": "size"}, "b"),
        ({"reasons": ["REQUEST_ERROR"], "retryable": True, "message": "size"}, ""),
    ],
    ids=str,
)
def test_all_that_is_given_must_apply(given: dict[str, Any], keys: str) -> None:
    chosen = LETTERS.filter(Selection.of(**given).of_batch(LETTERS))

    assert "".join(chosen.column("key").to_pylist()) == keys


def test_only_the_columns_that_are_needed_are_read() -> None:
    for selection in (Selection.of(codes=[1]), Selection.of(message="x"), Selection.of(keys=["k#1"])):
        rows = pa.RecordBatch.from_pylist([{**row, "repeat": 0} for row in LETTERS.to_pylist()])

        assert selection.of_batch(rows.select(selection.columns(2)), 2).equals(selection.of_batch(rows, 2))
    assert "message" not in Selection.of(["TRUNCATED"]).columns(1)


@pytest.mark.parametrize(("key", "repeats"), [("a", [0, 1, 2]), ("a#1", [1]), ("a#3", [])])
def test_a_key_may_name_one_of_its_repeats(key: str, repeats: list[int]) -> None:
    rows = pa.RecordBatch.from_pylist([{**LETTERS.to_pylist()[0], "repeat": repeat} for repeat in range(3)])

    assert rows.filter(Selection.of(keys=[key]).of_batch(rows, 3)).column("repeat").to_pylist() == repeats


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reasons": ["BROKEN"]}, "reasons holds 'BROKEN'; known are INVALID_INPUT"),
        ({"reasons": "MISSING"}, "reasons is 'MISSING'; expected a list of texts."),
        ({"keys": ["\udc80"]}, "keys is ['\\udc80']; expected a list of texts."),
        ({"message": ""}, "message is ''; expected a text that the message contains, or /a regular expression/."),
        ({"message": "/(/"}, "message is '/(/', which cannot be used as a regular expression (RE2): "),
        ({"codes": 429}, "codes is 429; expected a list of whole numbers, such as [429, 503]."),
        ({"codes": [True]}, "codes is [True]; expected a list"),
        ({"codes": [1 << 40]}, "codes is [1099511627776]; expected a list"),
        ({"retryable": "yes"}, "retryable is 'yes'; expected True or False."),
        ({"include_discarded": None}, "include_discarded is None; expected True or False."),
        ({"limit": 0}, "limit is 0; expected a whole number of dead letters from 1, or None for all of them."),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        Selection.of(**given)


@given(st.text(min_size=1))
def test_any_text_either_selects_or_is_refused(text: str) -> None:
    try:
        selection = Selection.of(message=text, keys=[text])
    except InputError:
        return

    assert LETTERS.filter(selection.of_batch(LETTERS)).num_rows <= LETTERS.num_rows


def test_a_redrive_without_a_selection_means_the_retryable_ones() -> None:
    assert Selection.of().or_retryable() == Selection.of(retryable=True)
    assert Selection.of(limit=3, include_discarded=True).or_retryable().retryable is True
    assert Selection.of(codes=[400]).or_retryable() == Selection.of(codes=[400])


def test_the_caller_of_a_plan_follows_from_the_selection() -> None:
    callers = {
        selection.caller("token")
        for selection in (
            Selection.of(),
            Selection.of(["MISSING"]),
            Selection.of(message="a"),
            Selection.of(retryable=False),
            Selection.of(retryable=True),
            Selection.of(limit=3),
            Selection.of(include_discarded=True),
        )
    }

    assert len(callers) == 7
    # As plans that lie in runs of earlier versions have it.
    assert Selection.of(["MISSING"], ["b", "a"]).caller("token") == "176210efe9110fa524b65d918e471ec2"


def test_discarded_letters_are_left_out() -> None:
    assert without(LETTERS, {"a", "d", "z"}, 1).column("key").to_pylist() == ["b", "c"]
    assert without(LETTERS, (), 1) is LETTERS
