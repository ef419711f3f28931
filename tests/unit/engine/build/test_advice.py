"""What is said about a run before it is sent, by model and by what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.build.advice import advice_for
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest, RawRequest

ROWS = pa.table({"body": ["a", "b", "c"]})


def advice(tmp_path: Path, model: str, request: Any = None, options: BatchOptions | None = None, **asked: Any) -> list[str]:
    request = request or GenerateRequest(**{"prompt": "${body}", **asked})
    spec = RunSpec(ROWS, request, model)
    manifest = build_run(Run(locate(str(tmp_path))), spec, options or BatchOptions())
    return [one.message for one in advice_for(manifest)]


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
@pytest.mark.parametrize(
    ("model", "ignores"),
    [("gemini-3.6-flash", True), ("models/gemini-3.8-flash", True), ("gemini-4-argon", True), ("gemini-3-flash-preview", False)],
)
def test_sampling_that_a_model_ignores(name: str, model: str, ignores: bool, tmp_path: Path) -> None:
    found = advice(tmp_path, model, config={name: 1})

    assert any(name in message and "ignore" in message for message in found) == ignores


@pytest.mark.parametrize(
    ("model", "level", "wrong"),
    [
        ("gemini-3-pro-preview", "MEDIUM", True), ("gemini-3.1-pro-preview", "MEDIUM", False),
        ("gemini-3.8-flash", "MINIMAL", True), ("gemini-3-flash-preview", "MINIMAL", False),
        ("gemini-2.5-flash", "LOW", True), ("gemini-9-unknown", "MINIMAL", False),
    ],
)  # fmt: skip
def test_thinking_levels_that_a_model_lacks(model: str, level: str, wrong: bool, tmp_path: Path) -> None:
    found = advice(tmp_path, model, config={"thinking_config": {"thinking_level": level}})

    assert any("has no thinking_level" in message for message in found) == wrong


def test_a_budget_for_a_model_with_levels(tmp_path: Path) -> None:
    found = advice(tmp_path, "gemini-3.8-flash", config={"thinking_config": {"thinking_budget": 100}})

    assert found == ["gemini-3.8-flash takes thinking_level; thinking_budget works less well."]


PRICES = {"input": 1.0, "cached": 0.1, "output": 2.0}


def test_a_long_prefix_that_all_requests_share(tmp_path: Path) -> None:
    options = BatchOptions(prices={"gemini-3.8-flash": PRICES})

    [found] = advice(tmp_path, "gemini-3.8-flash", prompt="x" * 40_000 + "${body}", options=options)

    assert "the same 10,000 tokens or so" in found
    assert "about $0.03" in found  # 3 requests of 10,000 tokens at 0.9 dollars less for a million


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "x" * 10_000 + "${body}"},
        {"prompt": "${body}" + "x" * 40_000},
        {"prompt": "${body}", "config": {"cached_content": "cachedContents/abc"}},
    ],
)
def test_a_prefix_that_is_short_or_cached_already(asked: dict[str, Any], tmp_path: Path) -> None:
    assert advice(tmp_path, "gemini-3.8-flash", **asked) == []


def test_a_cache_that_costs_as_much_is_not_advised(tmp_path: Path) -> None:
    options = BatchOptions(prices={"gemini-3.8-flash": {**PRICES, "cached": 1.0}})

    assert advice(tmp_path, "gemini-3.8-flash", prompt="x" * 40_000 + "${body}", options=options) == []


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemini-3.5-flash", "gemini-1.5-pro"])
def test_models_that_go(model: str, tmp_path: Path) -> None:
    assert [message for message in advice(tmp_path, model) if message.startswith(f"{model} ")]


def test_rows_that_decide_for_themselves_are_not_judged(tmp_path: Path) -> None:
    assert advice(tmp_path, "gemini-3.8-flash", request=RawRequest("body")) == []


def test_each_line_of_the_log_names_its_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    advice(tmp_path, "gemini-3.6-flash", config={"temperature": 1})

    assert "gemini-3.6-flash. (Source: Gemini API changelog, 2026-07-21.)" in caplog.text
