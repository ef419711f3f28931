"""Options are checked when they are set, by one table, and say what is allowed."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from airflow_gemini_batch.engine import options
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.reasons import REASON_BY_FINISH, Reason


def test_every_field_has_a_rule_and_its_default_obeys_it() -> None:
    assert list(options._RULES) == [field.name for field in dataclasses.fields(BatchOptions)]

    BatchOptions()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_shard_bytes", 0),
        ("max_shard_bytes", 2_000_000_001),
        ("max_shard_bytes", 1e6),
        ("max_shard_requests", True),
        ("max_shard_requests", "10"),
        ("transport", "inlin"),
        ("transport", None),
        ("transport", ["file"]),
        ("max_active_jobs", 0),
        ("poll_interval", 0),
        ("poll_interval", -1),
        ("poll_interval", float("nan")),
        ("poll_interval", float("inf")),
        ("poll_interval", timedelta(seconds=30)),
        ("timeout", timedelta(0)),
        ("timeout", 1e300),
        ("timeout", float("nan")),
        ("timeout", "1h"),
        ("timeout", None),
        ("collect_timeout", timedelta(seconds=-1)),
        ("cancel_on_timeout", 1),
        ("cancel_on_kill", "yes"),
        ("resubmit_stuck_after", 0),
        ("resubmit_lost", None),
        ("listing_lag", -0.1),
        ("claim_lease", 2),
        ("max_redrives", -3),
        ("redrive_reasons", {"MALFORMED"}),
        ("redrive_reasons", {"TRUNCATED", "STOP"}),
        ("redrive_reasons", ["INVALID_INPUT"]),
        ("redrive_reasons", "TRUNCATED,nope"),
        ("redrive_reasons", [7]),
        ("redrive_reasons", [["TRUNCATED"]]),
        ("redrive_reasons", 7),
        ("redrive_reasons", None),
        ("redrive_max_output_tokens", 0),
        ("max_dead_letter_ratio", 1.01),
        ("max_dead_letter_ratio", "0.5"),
        ("keep_response", 0),
        ("media_to", "file"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        BatchOptions.of({name: value})

    assert str(refused.value).startswith(f"options: {name} is {value!r}; expected ")
    assert "\n" not in str(refused.value)


def test_seconds_become_durations() -> None:
    given = BatchOptions.of({"timeout": 90, "collect_timeout": 0.0, "resubmit_stuck_after": 1.5, "poll_interval": 5})

    assert given == BatchOptions(
        timeout=timedelta(seconds=90),
        collect_timeout=timedelta(0),
        resubmit_stuck_after=timedelta(seconds=1.5),
        poll_interval=5.0,
    )
    assert isinstance(given.poll_interval, float)


def test_a_field_that_does_not_exist_is_refused_with_the_closest_one() -> None:
    with pytest.raises(InputError, match=r"no field 'max_redrive'\. Did you mean 'max_redrives'\? Fields: max_shard_bytes, "):
        BatchOptions.of({"max_redrive": 2})


@pytest.mark.parametrize("other", ["file", 3, ["transport"]])
def test_options_are_an_object_or_a_dict(other: Any) -> None:
    with pytest.raises(InputError, match="expected BatchOptions or a dict of its fields"):
        BatchOptions.of(other)


def test_options_survive_plain_json() -> None:
    given = BatchOptions(timeout=timedelta(hours=1), max_active_jobs=None, transport="auto", cancel_on_kill=False)

    assert BatchOptions.of(given.as_dict()) == given
    assert BatchOptions.of(given) is given
    assert BatchOptions.of(None) == BatchOptions()


def test_texts_of_the_command_line_are_read_as_json_or_as_text() -> None:
    given = BatchOptions.of_texts(
        {"max_redrives": "3", "transport": "auto", "keep_response": "false", "max_active_jobs": "null", "timeout": "3600"}
    )

    assert given == BatchOptions(
        max_redrives=3, transport="auto", keep_response=False, max_active_jobs=None, timeout=timedelta(hours=1)
    )


def test_options_cannot_be_changed_but_can_be_replaced() -> None:
    given = BatchOptions()

    with pytest.raises(dataclasses.FrozenInstanceError):
        given.max_redrives = 2  # type: ignore[misc]
    with pytest.raises(InputError, match="max_redrives is -1"):
        dataclasses.replace(given, max_redrives=-1)


@pytest.mark.parametrize("reasons", [{"TRUNCATED", "MALFORMED_FUNCTION_CALL"}, ["MALFORMED_FUNCTION_CALL", "TRUNCATED"],
                                     "TRUNCATED, MALFORMED_FUNCTION_CALL",
                                     (Reason.TRUNCATED, "MALFORMED_FUNCTION_CALL")])  # fmt: skip
def test_reasons_may_be_given_in_any_collection_and_return_as_json(reasons: Any) -> None:
    given = BatchOptions(redrive_reasons=reasons)

    assert given.redrive_reasons == {"TRUNCATED", "MALFORMED_FUNCTION_CALL"}
    assert given.as_dict()["redrive_reasons"] == ["MALFORMED_FUNCTION_CALL", "TRUNCATED"]
    assert BatchOptions.of(given.as_dict()) == given


def test_every_reason_and_finish_reason_of_a_dead_letter_may_be_redriven_but_for_rows_that_were_not_sent() -> None:
    names = {reason.value for reason in Reason} | {name for name, reason in REASON_BY_FINISH.items() if reason is not None}

    assert BatchOptions(redrive_reasons=names - {"INVALID_INPUT"}).redrive_reasons == names - {"INVALID_INPUT"}
