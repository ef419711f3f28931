"""The cost in the demo's report."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from airflow_gemini_batch.demo.report import _counts_table

SUMMARY: dict[str, Any] = {
    "rows": 12,
    "results": 12,
    "dead_letter": 0,
    "reasons": {},
    "tokens": {"total_tokens": 100},
    "jobs": [],
    "balanced": True,
}


def cost_line(**cost: Any) -> str:
    told = {"usd": None, "estimated_usd": None, "unpriced": 0, **cost}
    console = Console(file=io.StringIO(), width=200)
    console.print(_counts_table({**SUMMARY, "cost": told}, 3.0))
    [line] = [line for line in console.file.getvalue().splitlines() if line.startswith("Cost")]  # type: ignore[attr-defined]
    return " ".join(line.split())


def test_the_report_shows_what_the_service_would_charge() -> None:
    assert cost_line(usd=3.14159) == "Cost $3.14 what the service would charge for these tokens; nothing was paid"


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({"usd": 2.0, "estimated_usd": 2.5}, "nothing was paid; estimated $2.50"),
        ({"usd": 2.0, "unpriced": 1200}, "without 1,200 requests whose cost is not known"),
    ],
)
def test_the_estimate_and_what_is_left_out_are_told(cost: dict[str, Any], said: str) -> None:
    assert cost_line(**cost).endswith(said)


def test_a_cost_that_is_not_known_is_no_zero() -> None:
    assert cost_line().startswith("Cost - the model's price is not known")
