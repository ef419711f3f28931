"""Estimates and limits of tables that they were not made for: one row, equal rows, tools, models that paint, exact limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch import estimate
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.errors import BudgetError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest
from tests.integration.engine.conftest import MODEL, creates, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
PRICES = {MODEL: {"input": 1.0, "output": 10.0}}
REQUEST = GenerateRequest(prompt="Repeat: ${body}", config={"max_output_tokens": 100})


def equal(rows: int) -> pa.Table:
    return pa.table({"id": [f"k{row}" for row in range(rows)], "body": ["the same"] * rows})


@pytest.fixture
def say(endpoint: Endpoint) -> Callable[..., Any]:
    def call(source: Any, request: Any = REQUEST, **arguments: Any) -> Any:
        given = {"model": MODEL, "key": "id", "options": {"prices": PRICES}, "endpoint": endpoint, **arguments}
        return estimate(source, request, **given)

    return call


@pytest.mark.parametrize("rows", [table(1), equal(50)], ids=["one row", "equal rows"])
def test_a_trial_of_one_request_is_exact(rows: pa.Table, go: Go, say: Callable[..., Any], tmp_path: Path) -> None:
    trial = go(source=rows, request=REQUEST, prices=PRICES, sample=20, destination=str(tmp_path / "trial"))

    found = say(rows, trial=str(tmp_path / "trial"))

    assert found.requests == 1
    assert found.usd.low <= trial.cost.usd <= found.usd.high < found.usd.low + 2e-6


def test_a_trial_of_one_request_says_nothing_of_a_table_that_has_grown(go: Go, say: Callable[..., Any], tmp_path: Path) -> None:
    go(source=table(1), request=REQUEST, prices=PRICES, sample=20, destination=str(tmp_path / "trial"))

    with pytest.raises(InputError, match=r"the usage of 1 drawn rows .* is known, 0 have none; expected 2 and more"):
        say(table(100), trial=str(tmp_path / "trial"))


@pytest.mark.parametrize(
    "rows", [table(0), pa.table({"id": ["a"], "body": pa.array([None], pa.string())})], ids=["empty", "null"]
)
def test_a_table_without_requests_costs_nothing(rows: pa.Table, go: Go, say: Callable[..., Any]) -> None:
    found = say(rows)

    assert (found.requests, found.usd.low, found.usd.high) == (0, 0.0, 0.0)
    assert go(source=rows, request=REQUEST, prices=PRICES, max_cost_usd=1e-9).requests == 0


@pytest.mark.parametrize("tool", ["google_search", "url_context", "code_execution"])
def test_what_a_tool_returns_has_no_high_end(tool: str, go: Go, say: Callable[..., Any], emulator: Emulator) -> None:
    request = GenerateRequest(prompt="${body}", config={"max_output_tokens": 100, "tools": [{tool: {}}]})

    for found in (say(table(3), request), say(table(3), request, count_tokens=3)):
        assert found.usd.high is None
        assert any("3 requests have the tool" in note for note in found.notes)
    with pytest.raises(BudgetError, match="no known upper end: in a shard 3 of 3 requests have the tool"):
        go(source=table(3), request=request, prices=PRICES, max_cost_usd=100)
    assert creates(emulator) == []


def test_functions_have_a_high_end(say: Callable[..., Any]) -> None:
    functions = [{"function_declarations": [{"name": "look_up"}]}]

    assert say(table(3), GenerateRequest(prompt="${body}", config={"max_output_tokens": 9, "tools": functions})).usd.high > 0


@pytest.mark.parametrize(("modalities", "high"), [(None, 0.6), (["TEXT", "IMAGE"], 0.6), (["text"], 0.06)])
def test_a_model_that_paints_may_do_so_wherever_it_is_not_told_otherwise(
    modalities: list[str] | None, high: float, say: Callable[..., Any]
) -> None:
    config: dict[str, Any] = {"max_output_tokens": 1000} | ({} if modalities is None else {"response_modalities": modalities})
    rates = {"input": 1.0, "output": 6.0, "output_image": 60.0}

    found = say(table(10), GenerateRequest(prompt="${body}", config=config), options={"prices": {MODEL: rates}})

    assert high < found.usd.high < high * 1.01


@pytest.mark.parametrize(("request_", "model"), [(REQUEST, MODEL), (EmbedRequest(text="${body}"), "gemini-embedding-2")])
def test_the_high_end_of_a_range_is_a_limit_that_is_kept(
    request_: Any, model: str, go: Go, say: Callable[..., Any], tmp_path: Path
) -> None:
    prices = {model: PRICES[MODEL]}
    high = say(table(7), request_, model=model, options={"prices": prices}).usd.high
    given = {"source": table(7), "request": request_, "model": model, "prices": prices, "max_shard_requests": 2}

    with pytest.raises(BudgetError):
        go(**given, max_cost_usd=high * 0.999, destination=str(tmp_path / "less"))
    assert go(**given, max_cost_usd=high).results == 7


def test_the_high_end_of_a_trial_is_a_limit_that_is_kept(go: Go, say: Callable[..., Any], tmp_path: Path) -> None:
    given = {"source": table(150), "request": REQUEST, "prices": PRICES}
    folder = str(tmp_path / "lake")
    go(**given, sample=20, destination=f"{folder}/trial")
    high = say(table(150), trial=f"{folder}/trial", reuse=folder).usd.high

    with pytest.raises(BudgetError, match=r"by the trial that is reused.*Run a larger trial"):
        go(**given, reuse=folder, max_cost_usd=high * 0.99, destination=str(tmp_path / "less"))
    assert go(**given, reuse=folder, max_cost_usd=high, max_shard_requests=30, destination=str(tmp_path / "run")).results == 150


def test_a_trial_of_rows_that_are_sent_once_serves_for_repeats(go: Go, say: Callable[..., Any], tmp_path: Path) -> None:
    given = {"source": table(60), "request": REQUEST, "prices": PRICES}
    go(**given, sample=20, destination=str(tmp_path / "trial"))

    found = say(table(60), trial=str(tmp_path / "trial"), reuse=str(tmp_path / "trial"), repeats=4)
    whole = go(**given, repeats=4, reuse=str(tmp_path / "trial"), max_cost_usd=found.usd.high)

    assert (found.rows, found.requests, found.reused) == (240, whole.requests, whole.reused)
    assert found.usd.low < whole.cost.usd < found.usd.high
    assert say(table(60), repeats=4).usd.high == pytest.approx(4 * say(table(60)).usd.high)


def test_a_trial_whose_rows_all_failed_is_refused(go: Go, say: Callable[..., Any], tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", code=3))
    options = {"max_dead_letter_ratio": 1.0}
    go(source=table(30), request=REQUEST, prices=PRICES, sample=5, destination=str(tmp_path / "trial"), **options)

    with pytest.raises(InputError, match=r"the usage of 0 drawn rows .* is known, 5 have none"):
        say(table(30), trial=str(tmp_path / "trial"))
