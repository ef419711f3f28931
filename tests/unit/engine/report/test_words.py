"""What the page says of numbers, times, prompts and requests."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_gemini_batch.engine.report import words
from airflow_gemini_batch.engine.report.asked import asked_of
from airflow_gemini_batch.engine.report.board import ShardState


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (-3, "0 s"), (45, "45 s"), (720, "12 min"), (6600, "1 h 50 min"), (7200, "2 h"), (273600, "3 d 4 h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.4125, "41.2 %"), (0.999999, "99.9 %"), (1e-9, "0.01 %")]
)
def test_shares_are_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(("rate", "text"), [(None, ""), (86.7, "5,202 rows/min"), (0.05, "180 rows/h")])
def test_rates(rate: float | None, text: str) -> None:
    assert words.rate(rate) == text


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (None, ""),
        ("", ""),
        ("never", ""),
        (0.0, "1970-01-01 00:00:00 UTC"),
        ("2026-11-26T13:00:00+01:00", "2026-11-26 12:00:00 UTC"),
    ],
)
def test_moments(at: Any, text: str) -> None:
    assert words.moment(at) == text


def test_a_prompt_is_cut_at_its_columns() -> None:
    assert words.placeholders("Describe ${name} of ${ brand }.") == [
        ("Describe ", False),
        ("${name}", True),
        (" of ", False),
        ("${ brand }", True),
        (".", False),
    ]


@pytest.mark.parametrize(
    ("shard", "level", "text"),
    [
        (ShardState(3, 0, "waiting", 5, 5, pending=5), "", "Shard 3: waiting, 0 of 5 done"),
        (
            ShardState(3, 1, "running", 1000, 1000, done=370, failed=2),
            " l3",
            "Shard 3, attempt 1: running, 370 of 1,000 done, 2 failed",
        ),
        (
            ShardState(3, 0, "landed", 5, 5, done=5, results=4, dead_letter=1),
            " l10",
            "Shard 3: landed, 4 results, 1 dead letter",
        ),
    ],
)
def test_a_shard_in_words(shard: ShardState, level: str, text: str) -> None:
    assert (words.level(shard), words.cell(shard)) == (level, text)


def test_what_was_asked_is_prompt_system_instruction_schema_and_the_rest() -> None:
    asked = asked_of(
        {
            "type": "generate",
            "prompt": "Describe ${name}",
            "response_schema": None,
            "request": {
                "contents": [{"parts": [{"text": ""}], "role": "user"}],
                "system_instruction": {"parts": [{"text": "Be short."}], "role": "user"},
                "generation_config": {"temperature": 0.5, "response_json_schema": {"type": "object"}},
            },
        }
    )

    assert [heading for heading, _ in asked] == ["system instruction", "prompt", "schema of the answer", "config"]
    assert dict(asked)["system instruction"] == "Be short."
    assert "temperature" in dict(asked)["config"]
    assert "object" not in dict(asked)["config"]
