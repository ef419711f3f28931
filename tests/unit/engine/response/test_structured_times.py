"""Days and times are taken in the forms that pydantic takes, except where a number could mean two things."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.response.test_structured import read

DAY, NOON = dt.date(2026, 5, 1), dt.datetime(2026, 5, 1, 12, tzinfo=dt.timezone.utc)
MIDNIGHT = NOON.replace(hour=0)


@pytest.mark.parametrize(
    ("format", "text", "value"),
    [
        ("date", "2026-05-01", DAY),
        ("date", "2026-05-01T00:00:00", DAY),
        ("date", "2026-05-01 00:00:00Z", DAY),
        ("date", "1777593600", DAY),
        ("date-time", "2026-05-01T12:00:00Z", NOON),
        ("date-time", "2026-05-01t14:00:00+02:00", NOON),
        ("date-time", "2026-05-01T14:00+0200", NOON),
        ("date-time", "2026-05-01T12:00", NOON),
        ("date-time", "2026-05-01 12:00:00.000", NOON),
        ("date-time", "2026-05-01_12:00:00", NOON),
        ("date-time", "2026-05-01", MIDNIGHT),
        ("date-time", "1777636800", NOON),
        ("date-time", "1777636800.0", NOON),
        ("date-time", "1777636800000", NOON),
        ("time", "12:00", "12:00"),
        ("time", "12:00Z", "12:00Z"),
        ("time", "12:00:00.123456789+02:00", "12:00:00.123456789+02:00"),
    ],
)
def test_times_in_the_forms_that_pydantic_takes(format: str, text: str, value: Any) -> None:
    kinds = {"date": dt.date, "date-time": dt.datetime, "time": dt.time}
    pydantic.TypeAdapter(kinds[format]).validate_json(json.dumps(text))

    assert read([json.dumps(text)], {"type": "string", "format": format}) == ([value], {})


@pytest.mark.parametrize("format", ["date", "date-time", "time"])
@pytest.mark.parametrize(
    "text",
    ["20260501", "20260501120000", "202605011200", "202605", "2026", "0", "-1777593600", "+1777593600", "177759360012345", "1e9",
     "1_777_593_600", "36000", "", ".", "-", "nan", "inf", "yesterday", "2026-5-1", "2026/05/01", "2026-02-30", "12 o'clock"],
)  # fmt: skip
def test_a_number_that_may_be_written_as_a_day_is_not_a_time(format: str, text: str) -> None:
    assert list(read([json.dumps(text)], {"type": "string", "format": format})[1]) == [0]


@given(st.sampled_from(["date", "date-time"]), st.from_regex(r"[-+0-9TZt :._/W]{0,26}", fullmatch=True) | st.text(max_size=24))
def test_what_counts_as_a_time_fits_into_the_column(format: str, text: str) -> None:
    [value], problems = read([json.dumps(text)], {"type": "string", "format": format})

    assert (value is None) == bool(problems)
    assert "but not for the column" not in problems.get(0, "")
