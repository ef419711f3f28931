"""Answers that say when their model retires."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from airflow_gemini_batch.engine.response import model_status
from airflow_gemini_batch.engine.response.model_status import warn_of_retirement

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc)


@pytest.fixture(autouse=True)
def forget() -> None:
    model_status._warn.cache_clear()


def response(time: Any, member: str = "modelStatus", **status: Any) -> bytes:
    return json.dumps({"modelVersion": "gemini-2.5-flash", member: {"retirementTime": time, **status}}).encode()


@pytest.mark.parametrize("member", ["modelStatus", "model_status"])
@pytest.mark.parametrize("time", ["2026-11-20T00:00:00Z", "2026-11-20T00:00:00.123+00:00"])
def test_a_model_that_retires_soon_is_a_warning(time: str, member: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        warn_of_retirement(response(time, member, message="use another\x1b[31m"), now=NOW)

    [record] = caplog.records
    assert record.getMessage().startswith("gemini-2.5-flash retires on 2026-11-20, as its answers say: use another")
    assert "\x1b" not in record.getMessage()


@pytest.mark.parametrize("time", ["2027-06-01T00:00:00Z", "soon", None, 3, "", {}])
def test_other_times_are_no_news(time: Any, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_retirement(response(time), now=NOW)
    warn_of_retirement(b'{"modelStatus": "x"}', now=NOW)
    warn_of_retirement(b"{}", now=NOW)

    assert not caplog.records
