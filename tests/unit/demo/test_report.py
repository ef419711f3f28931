"""The cost in the demo's report, and the estimate above it."""

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


def line_of(name: str, cost: dict[str, Any], estimate: dict[str, Any] | None) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(_counts_table({**SUMMARY, "cost": {"usd": None, "unpriced": 0, **cost}}, {"usd": estimate}, 3.0))
    [line] = [line for line in console.file.getvalue().splitlines() if line.startswith(name)]  # type: ignore[attr-defined]
    return " ".join(line.split())


def cost_line(**cost: Any) -> str:
    return line_of("Cost", cost, None)


def test_the_report_shows_what_the_service_would_charge() -> None:
    assert cost_line(usd=3.14159) == "Cost $3.14 what the service would charge for these tokens; nothing was paid"


def test_what_is_left_out_is_told() -> None:
    assert cost_line(usd=2.0, unpriced=1200).endswith("without 1,200 requests whose cost is not known")


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        ({"low": 1.5, "middle": 2.0, "high": 3.0, "basis": "bytes"}, "Estimate $2.00 before it: $1.50 to $3.00 (bytes)"),
        (
            {"low": 1.5, "middle": None, "high": None, "basis": "bytes"},
            "Estimate - before it: $1.50 to an unknown high end (bytes)",
        ),
        (None, "Estimate - the model's price is not known"),
    ],
    ids=str,
)
def test_the_estimate_is_told(usd: dict[str, Any] | None, said: str) -> None:
    assert line_of("Estimate", {"usd": 2.0}, usd) == said


def test_a_cost_that_is_not_known_is_no_zero() -> None:
    assert cost_line().startswith("Cost - the model's price is not known")
