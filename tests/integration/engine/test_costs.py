"""What rows, jobs and runs cost: through the emulator, with rates that are given and those of the price list."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from airflow_gemini_batch.emulator import Emulator, JobFault, RowFault
from airflow_gemini_batch.engine.api import redrive
from airflow_gemini_batch.engine.collect.download import reland
from airflow_gemini_batch.engine.costs.bill import NO_ANSWER, NO_PRICE, NO_PRICES_KEPT, NO_USAGE
from airflow_gemini_batch.engine.costs.prices import Period
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run
from airflow_gemini_batch.engine.gemini.caches import Caches
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.run.layout import Manifest, Run
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import EmbedRequest, GenerateRequest
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
Rows = list[dict[str, Any]]

needs_list = pytest.mark.skipif(importlib.util.find_spec("genai_prices") is None, reason="the extra costs is not installed")

#: USD per million tokens: input, cached, output.
RATES = {"input": 2.0, "cached": 0.5, "output": 10.0}
PRICES = {MODEL: RATES}


def spent(row: dict[str, Any]) -> float:
    """By hand, from the row's own counts."""
    input, output = row["prompt_tokens"] + (row["tool_tokens"] or 0), (row["output_tokens"] or 0) + (row["thoughts_tokens"] or 0)
    cached = row["cached_tokens"] or 0
    return ((input - cached) * 2.0 + cached * 0.5 + output * 10.0) / 1e6


def billed(row: dict[str, Any]) -> float:
    """By hand, from the line of a dead letter."""
    usage = json.loads(row["response"])["response"]["usageMetadata"]
    return (usage["promptTokenCount"] * 2.0 + usage.get("candidatesTokenCount", 0) * 10.0) / 1e6


def test_row_job_and_run_agree(go: Go, tmp_path: Path) -> None:
    summary = go(prices=PRICES)

    rows = read(tmp_path, "results")
    assert [row["cost_usd"] for row in rows] == [pytest.approx(spent(row), rel=1e-12) for row in rows]
    assert min(row["cost_usd"] for row in rows) > 0
    assert summary.cost.usd == pytest.approx(math.fsum(row["cost_usd"] for row in rows), rel=1e-12)
    for job in summary.jobs:
        assert job.cost_usd == pytest.approx(math.fsum(row["cost_usd"] for row in rows if row["job"] == job.name), rel=1e-12)
    assert (summary.cost.unpriced, summary.cost.basis.source) == (0, "given")
    assert summary.cost.basis.rates == {"": RATES}
    assert summary.cost.tokens["input"] == summary.tokens["prompt_tokens"]
    assert json.loads((tmp_path / "run/summary.json").read_bytes())["cost"]["usd"] == summary.cost.usd


@pytest.mark.parametrize("transport", ["file", "inline"])
def test_a_dead_letter_whose_answer_was_made_has_been_paid_for(
    transport: str, go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    kinds = ("max_tokens", "safety", "prompt_blocked", "error", "empty", "null_response", "missing")
    emulator.faults.add(*(RowFault(do=kind, keys=(f"k{number}",), code=3) for number, kind in enumerate(kinds, start=1)))

    summary = go(prices=PRICES, transport=transport)

    dead = {row["key"]: row for row in read(tmp_path, "dead_letter")}
    for key in ("k1", "k2", "k3", "k5"):
        assert dead[key]["cost_usd"] == pytest.approx(billed(dead[key]), rel=1e-12) != 0, key
    assert {key: dead[key]["cost_usd"] for key in ("k4", "k6", "k7")} == {"k4": 0, "k6": None, "k7": None}
    assert summary.cost.unpriced_reasons == {NO_USAGE: 1, NO_ANSWER: 1}
    paid = [row["cost_usd"] for row in (*read(tmp_path, "results"), *dead.values()) if row["cost_usd"] is not None]
    assert summary.cost.usd == pytest.approx(math.fsum(paid), rel=1e-12)
    assert "without 2 requests of unknown cost" in str(summary.cost)


def test_an_answer_of_another_form_has_been_paid_for(go: Go, tmp_path: Path) -> None:
    # The emulator answers in the form that is asked for, except that it knows nothing of "not".
    schema = {"type": "object", "properties": {"n": {"type": "integer", "not": {"type": "integer"}}}, "required": ["n"]}

    summary = go(prices=PRICES, request=GenerateRequest(prompt="${body}", response_schema=schema), max_dead_letter_ratio=1)

    dead = read(tmp_path, "dead_letter")
    assert {row["reason"] for row in dead} == {"INVALID_OUTPUT"}
    assert [row["cost_usd"] for row in dead] == [pytest.approx(billed(row), rel=1e-12) for row in dead]
    assert (len(dead), summary.cost.unpriced) == (12, 0)


def test_a_row_that_never_became_a_request_cost_nothing(go: Go, tmp_path: Path) -> None:
    source = pa.table({"id": ["a", "b"], "body": ["one", None]})

    summary = go(prices=PRICES, source=source)

    [dead] = read(tmp_path, "dead_letter")
    assert (dead["reason"], dead["cost_usd"]) == ("INVALID_INPUT", 0.0)
    assert summary.cost.unpriced == 0


def test_a_run_without_a_request_cost_nothing_whatever_is_known(go: Go, tmp_path: Path) -> None:
    source = pa.table({"id": ["a"], "body": pa.array([None], pa.string())})

    summary = go(model="gemini-3.5-flash", source=source, max_dead_letter_ratio=1)

    assert (summary.cost.usd, summary.cost.unpriced) == (0.0, 0)


def test_an_attempt_that_was_resubmitted_has_been_paid_for_too(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="max_tokens", keys=("k1", "k7"), display_name="attempt 0"))

    summary = go(prices=PRICES, max_redrives=1, redrive_max_output_tokens=4096)

    rows = read(tmp_path, "results")
    in_table = math.fsum(row["cost_usd"] for row in rows)
    again = [job.cost_usd for job in summary.jobs if job.attempt == 1]
    assert (len(rows), len(again)) == (12, 2)
    assert summary.cost.usd == pytest.approx(math.fsum(job.cost_usd or 0 for job in summary.jobs), rel=1e-12)
    assert summary.cost.usd is not None
    assert summary.cost.usd > in_table * 1.05
    assert finish_run(Run(locate(str(tmp_path / "run")))) == summary


def test_a_later_redrive_adds_to_the_cost(go: Go, tmp_path: Path, emulator: Emulator, endpoint: Endpoint) -> None:
    emulator.faults.add(RowFault(do="max_tokens", keys=("k1",), display_name="attempt 0"))
    before = go(prices=PRICES)

    after = redrive(str(tmp_path / "run"), reasons=["TRUNCATED"], options=SHORT_WAITS, endpoint=endpoint)

    [row] = [row for row in read(tmp_path, "results") if row["key"] == "k1"]
    assert (row["attempt"], after.dead_letter) == (1, 0)
    assert before.cost.usd is not None
    assert after.cost.usd == pytest.approx(before.cost.usd + row["cost_usd"], rel=1e-12)


def test_rows_without_an_answer_may_have_been_paid_for(go: Go, tmp_path: Path, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="expire", count=1))

    summary = go(prices=PRICES)

    dead = [row for row in read(tmp_path, "dead_letter") if row["reason"] == "JOB_EXPIRED"]
    assert [row["cost_usd"] for row in dead] == [None] * len(dead) != []
    assert summary.cost.unpriced_reasons == {NO_ANSWER: len(dead)}


def test_landing_again_gives_the_same_cost(go: Go, tmp_path: Path) -> None:
    summary = go(prices=PRICES)
    run = Run(locate(str(tmp_path / "run")))

    costs = [landed.cost for shard in run.built().shards if (landed := reland(run, shard))]

    assert math.fsum(cost.usd for cost in costs if cost) == pytest.approx(summary.cost.usd, rel=1e-12)


def test_the_prices_are_those_of_the_day_on_which_the_job_was_created(go: Go, tmp_path: Path) -> None:
    summary = go(prices=PRICES)
    run = Run(locate(str(tmp_path / "run")))
    manifest = run.built()
    assert manifest.prices is not None
    today = summary.jobs[0].create_time[:10]
    doubled = {kind: 2 * rate for kind, rate in RATES.items()}
    changing = msgspec.structs.replace(manifest.prices, periods=(Period("", RATES), Period(today, doubled)))
    built = msgspec.structs.replace(manifest, prices=changing, created_at="2026-01-01T00:00:00+00:00")
    run.manifest_file.write(msgspec.json.encode(built))

    costs = [landed.cost for shard in manifest.shards if (landed := reland(run, shard))]

    assert {cost.since for cost in costs if cost} == {today}
    assert summary.cost.usd is not None
    assert math.fsum(cost.usd for cost in costs if cost) == pytest.approx(2 * summary.cost.usd, rel=1e-12)


def test_cached_tokens_have_a_rate_of_their_own(go: Go, tmp_path: Path, endpoint: Endpoint) -> None:
    name = Caches(endpoint).create(model=MODEL, contents="long " * 2000)

    summary = go(prices=PRICES, request=GenerateRequest(prompt="Repeat: ${body}", config={"cached_content": name}))

    rows = read(tmp_path, "results")
    assert all(row["cached_tokens"] for row in rows)
    assert [row["cost_usd"] for row in rows] == [pytest.approx(spent(row), rel=1e-12) for row in rows]
    assert summary.cost.tokens["cached"] == summary.tokens["cached_tokens"]


def test_thoughts_cost_what_output_costs(go: Go, tmp_path: Path) -> None:
    go(prices=PRICES, request=GenerateRequest(prompt="${body}", config={"thinking_config": {"include_thoughts": True}}))

    rows = read(tmp_path, "results")
    assert all(row["thoughts_tokens"] for row in rows)
    assert [row["cost_usd"] for row in rows] == [pytest.approx(spent(row), rel=1e-12) for row in rows]


@needs_list
def test_images_cost_more_than_text(go: Go, tmp_path: Path) -> None:
    request = GenerateRequest(prompt="Draw ${body}", config={"response_modalities": ["TEXT", "IMAGE"]})

    summary = go(model="gemini-3-pro-image-preview", request=request)

    images = summary.cost.tokens["output_image"]
    text = summary.cost.tokens["output"] - images
    assert images > 0
    assert summary.cost.usd == pytest.approx((summary.cost.tokens["input"] + text * 6 + images * 60) / 1e6, rel=1e-12)


@needs_list
def test_searches_are_counted_by_query(go: Go, tmp_path: Path) -> None:
    request = GenerateRequest(prompt="${body}", config={"tools": [{"google_search": {}}]})

    summary = go(request=request)

    rows = read(tmp_path, "results")
    queries = [len(set(json.loads(row["grounding"])["webSearchQueries"])) for row in rows]
    assert (summary.cost.searches, sum(queries) > 0) == (sum(queries), True)
    assert summary.cost.searches_usd == pytest.approx(sum(queries) * 0.014)
    assert [row["cost_usd"] > count * 0.014 for row, count in zip(rows, queries, strict=True)] == [True] * len(rows)


@needs_list
def test_the_price_list_is_used_and_named(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "airflow_gemini_batch.engine.finish.summary")

    summary = go()

    cost = summary.cost
    assert cost.basis.source.startswith("genai-prices ")
    assert cost.basis.date == dt.datetime.now(dt.timezone.utc).date().isoformat()
    assert cost.usd is not None
    assert cost.interactive_usd == pytest.approx(2 * cost.usd)
    assert f"0 dead letters, {cost}" in caplog.text


@needs_list
def test_embeddings_cost_their_input(go: Go, tmp_path: Path) -> None:
    summary = go(model="gemini-embedding-2", request=EmbedRequest(text="${body}", config={"output_dimensionality": 16}))

    rows = read(tmp_path, "results")
    assert [row["cost_usd"] for row in rows] == [pytest.approx(row["prompt_tokens"] * 0.1 / 1e6) for row in rows]
    assert summary.cost.unpriced == 0


def test_embeddings_with_a_given_rate_need_no_rate_of_output(go: Go) -> None:
    request = EmbedRequest(text="${body}", config={"output_dimensionality": 16})

    summary = go(model="gemini-embedding-001", request=request, prices={"gemini-embedding-001": {"input": 0.075}})

    assert summary.cost.usd == pytest.approx(summary.tokens["prompt_tokens"] * 0.075 / 1e6)


@pytest.mark.parametrize("model", ["gemini-3.5-flash", "gemini-embedding-001"])
def test_a_cost_that_is_not_known_is_null_and_says_why(
    model: str, go: Go, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embeds = model.startswith("gemini-embedding")
    request = EmbedRequest(text="${body}", config={"output_dimensionality": 16}) if embeds else GenerateRequest(prompt="${body}")
    caplog.set_level(logging.INFO)

    summary = go(model=model, request=request)

    assert {row["cost_usd"] for row in read(tmp_path, "results")} == {None}
    assert (summary.cost.usd, summary.cost.unpriced_reasons) == (None, {NO_PRICE: 12})
    assert {job.cost_usd for job in summary.jobs} == {None}
    assert summary.cost.basis.source == "unknown"
    assert "give rates in options.prices" in summary.cost.basis.notes[0]
    assert summary.cost.tokens["input"] > 0
    assert "cost unknown (" in caplog.text


def test_the_rates_of_a_run_are_those_it_was_built_with(go: Go, tmp_path: Path) -> None:
    first = go(prices=PRICES)
    (tmp_path / "run/summary.json").unlink()

    second = go(prices={MODEL: {"input": 1000.0, "output": 1000.0}})

    assert second.cost == first.cost


def test_a_run_that_was_built_before_prices_were_kept_has_no_cost(go: Go, tmp_path: Path) -> None:
    go(prices=PRICES)
    run = Run(locate(str(tmp_path / "run")))
    manifest: Manifest = run.built()
    run.manifest_file.write(msgspec.json.encode(msgspec.structs.replace(manifest, prices=None)))
    for shard in manifest.shards:
        reland(run, shard)
    run.summary_file.delete()

    summary = finish_run(run)

    assert (summary.cost.usd, summary.cost.unpriced_reasons) == (None, {NO_PRICES_KEPT: 12})


def test_the_summary_of_an_earlier_version_has_no_cost(go: Go, tmp_path: Path) -> None:
    go(prices=PRICES)
    file = tmp_path / "run/summary.json"
    old = json.loads(file.read_bytes())
    del old["cost"]
    file.write_text(json.dumps({**old, "cost_usd": None}))

    assert go(prices=PRICES).cost.basis.notes == ("the run was finished before costs were kept",)
