"""docs/options.md says what ``BatchOptions`` says."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta

from airflow_gemini_batch import BatchOptions
from tests.options_page import PAGE, UNITS, docstrings, page_of

TEXT = PAGE.read_text(encoding="utf-8")
FIELDS = {field.name: field for field in dataclasses.fields(BatchOptions)}


def test_the_table_is_fresh() -> None:
    assert page_of(TEXT) == TEXT, "docs/options.md differs from BatchOptions: run python -m tests.options_page"


def test_every_field_has_a_docstring_that_names_its_default() -> None:
    texts = docstrings()

    assert {name for name in FIELDS if "Default" not in texts.get(name, "")} == set()


def test_every_number_and_duration_has_a_unit() -> None:
    numbers = {name for name, field in FIELDS.items() if re.search(r"\b(int|float|timedelta)\b", str(field.type))}

    assert set(UNITS) == numbers


def test_the_table_of_tasks_names_fields_only() -> None:
    tasks = TEXT.split("## Which task uses what")[1].split("\n## ")[0]
    named = {name for row in tasks.splitlines() for name in re.findall(r"`(\w+)`", row.rpartition(" | ")[2])}

    assert named <= set(FIELDS)
    assert len(named) > 10


def test_a_duration_may_be_given_as_seconds_as_the_page_says() -> None:
    assert BatchOptions.of({"timeout": 3600}).timeout == timedelta(hours=1)
