"""The limits that a connection sets."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.project_limits import ProjectLimits


def test_a_folder_alone_has_the_documented_limit_of_jobs() -> None:
    assert ProjectLimits.of_extra({"limits_folder": " s3://lake/limits ", "api_version": "v1"}) == ProjectLimits(
        "s3://lake/limits", max_active_jobs=100
    )


def test_numbers_of_a_form_may_be_text_and_empty_ones_are_none() -> None:
    extra = {"limits_folder": "f", "max_active_jobs": "4", "max_usd_per_10_minutes": "2.5", "max_enqueued_tokens": ""}

    assert ProjectLimits.of_extra(extra) == ProjectLimits("f", max_active_jobs=4, max_usd_per_10_minutes=2.5)


def test_without_limits_there_are_none() -> None:
    assert ProjectLimits.of_extra({"api_version": "v1", "limits_folder": None, "max_active_jobs": ""}) is None


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"max_active_jobs": 4}, "max_active_jobs: limits of a connection need limits_folder"),
        ({"limits_folder": "f", "max_active_jobs": 0}, "max_active_jobs is 0; expected a whole number from 1, or None."),
        ({"limits_folder": "f", "max_active_jobs": "many"}, "max_active_jobs is 'many'"),
        ({"limits_folder": "f", "max_active_jobs": True}, "max_active_jobs is True"),
        ({"limits_folder": "f", "max_enqueued_tokens": {"m": 0}}, "max_enqueued_tokens is {'m': 0}; expected a whole number"),
        ({"limits_folder": "f", "max_enqueued_tokens": 1.5}, "max_enqueued_tokens is 1.5"),
        ({"limits_folder": "f", "max_usd_per_10_minutes": -1}, "max_usd_per_10_minutes is -1; expected an amount above 0"),
        ({"limits_folder": "f", "max_usd_per_10_minutes": "nan"}, "max_usd_per_10_minutes is nan"),
        ({"limits_folder": "  "}, "The folder of limits is '  '"),
        ({"limits_folder": 5}, "The folder of limits is 5"),
    ],
)
def test_a_limit_that_is_not_allowed_is_named(extra: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        ProjectLimits.of_extra(extra)
    assert words in str(error.value)


@pytest.mark.parametrize("model", ["gemini-3.6-flash", "models/gemini-3.6-flash"])
def test_tokens_of_a_model_are_found_by_either_name(model: str) -> None:
    assert ProjectLimits("f", max_enqueued_tokens={"gemini-3.6-flash": 5}).enqueued_tokens_of(model) == 5
    assert ProjectLimits("f", max_enqueued_tokens={"models/gemini-3.6-flash": 5}).enqueued_tokens_of(model) == 5
    assert ProjectLimits("f", max_enqueued_tokens={"another": 5}).enqueued_tokens_of(model) is None
    assert ProjectLimits("f", max_enqueued_tokens=7).enqueued_tokens_of(model) == 7
