"""Which jobs are meant, and what is handed on of a listing."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.gemini.inventory import JobFilter, cut, delete_file, duration, job_record, moment
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.timezone.utc)


def job(**fields: Any) -> Job:
    given = {
        "name": "batches/1",
        "state": JobState.RUNNING,
        "display_name": "nightly prices",
        "model": "models/gemini-3.6-flash",
        "create_time": "2026-11-21T06:00:00.123456789Z",
    }
    return Job(**{**given, **fields})


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        ({}, True),
        ({"state": "running"}, True),
        ({"state": ["SUCCEEDED", "FAILED"]}, False),
        ({"state": "active"}, True),
        ({"display_name": "nightly*"}, True),
        ({"display_name": "nightly"}, False),
        ({"display_name": "NIGHTLY*"}, False),
        ({"model": "gemini-3.6-*"}, True),
        ({"model": "models/gemini-3.6-flash"}, True),
        ({"model": "gemini-2.5-*"}, False),
        ({"created_after": "2026-11-21T06:00:00Z"}, True),
        ({"created_after": "2026-11-21T08:00:00+01:00"}, False),
        ({"created_before": "2026-11-21T06:00:00"}, False),
        ({"created_before": dt.datetime(2026, 11, 22)}, True),
        ({"created_after": "7h"}, True),
        ({"created_after": "5h"}, False),
        ({"created_before": "5h", "state": "ACTIVE", "model": "*flash"}, True),
    ],
)
def test_which_jobs_are_meant(wanted: dict[str, Any], is_meant: bool) -> None:
    assert JobFilter.of(**wanted, now=NOW).matches(job()) is is_meant


@pytest.mark.parametrize("wanted", [{"created_after": "9999d"}, {"created_before": "1s"}])
def test_a_job_without_a_time_is_neither_old_nor_new(wanted: dict[str, Any]) -> None:
    assert not JobFilter.of(**wanted, now=NOW).matches(job(create_time=""))


def test_a_state_of_tomorrow_is_active_as_long_as_its_operation_is_not_done() -> None:
    active = JobFilter.of(state="ACTIVE")

    assert active.matches(job(state=JobState.UNKNOWN))
    assert not active.matches(job(state=JobState.UNKNOWN, done=True))


def test_an_unknown_state_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="state is DONE; expected one or more of ACTIVE, CANCELLED"):
        JobFilter.of(state="done")


@pytest.mark.parametrize("value", ["yesterday", "36", 36])
def test_a_time_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"created_after is .*expected a time such as"):
        moment(value, argument="created_after")


@pytest.mark.parametrize(
    ("text", "length"), [("90m", dt.timedelta(minutes=90)), (" 1.5 d", dt.timedelta(hours=36)), ("2w", dt.timedelta(14))]
)
def test_lengths_of_time(text: str, length: dt.timedelta) -> None:
    assert duration(text, argument="older_than") == duration(length, argument="older_than") == length


@pytest.mark.parametrize("value", ["7", "-7d", dt.timedelta(days=-1), None])
def test_a_length_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="older_than is"):
        duration(value, argument="older_than")


def test_what_is_handed_on_is_cut_and_counted() -> None:
    records = [job_record(job(name=f"batches/{number}")) for number in range(5)]

    told = cut(records, kind="jobs", limit=2)

    assert (told["count"], told["left_out"], [each["name"] for each in told["jobs"]]) == (5, 3, ["batches/0", "batches/1"])


def test_a_long_error_stays_short_in_a_listing() -> None:
    assert len(job_record(job(error_message="x" * 10_000))["error"]) == 200


@pytest.mark.parametrize("name", ["", "abc", "files/", "files/a/../b", "files/a?key=b", "batches/1"])
def test_a_file_has_a_name_that_is_safe_in_a_url(name: str) -> None:
    with pytest.raises(InputError, match=r"expected files/<id>"):
        delete_file(None, name)  # type: ignore[arg-type]
