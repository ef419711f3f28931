"""Rates applied to usage: the same figures as genai-prices, for every model, tier and kind."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.costs.prices import prices_of
from airflow_gemini_batch.engine.costs.tariff import PICO, ImpossibleUsageError, Tariff
from airflow_gemini_batch.engine.costs.usage import Usage
from airflow_gemini_batch.engine.rates import MODALITIES

NOW = dt.datetime(2026, 11, 25, tzinfo=dt.timezone.utc)

MODELS = [
    "gemini-4-argon",
    "gemini-3.6-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-3-flash-preview",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-3-pro-image-preview",
    "gemini-nano-banana-2.1",
    "gemini-2.5-flash-tts",
    "gemini-3.8-flash-tts",
    "gemini-embedding-2",
    "gemini-2.0-flash",
    "gemini-1.5-pro",
    "gemini-3.8-live",
]

#: Kind of ours -> what genai-prices calls it.
THEIRS = {
    **{f"input_{one}": f"input_{one}_tokens" for one in MODALITIES},
    **{f"cached_{one}": f"cache_{one}_read_tokens" for one in MODALITIES},
    **{f"output_{one}": f"output_{one}_tokens" for one in MODALITIES},
}

#: Around the tiers, and small enough that parts exceed wholes now and then.
_AROUND_TIERS = st.sampled_from([127_999, 128_000, 128_001, 200_000, 200_001, 300_000])
COUNTS = st.one_of(st.integers(0, 50), _AROUND_TIERS, st.integers(0, 10**6))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    parts = draw(st.dictionaries(st.sampled_from(sorted(THEIRS)), COUNTS, max_size=4))
    if draw(st.booleans()):
        parts |= {f"cached_{one}": parts.get(f"cached_{one}", 0) for one in MODALITIES}
    sides = {side: sum(count for kind, count in parts.items() if kind.startswith(side)) for side in ("input", "output")}
    total, output = (draw(COUNTS) + (sides[side] if draw(st.booleans()) else 0) for side in ("input", "output"))
    cached = draw(st.integers(0, total) if draw(st.booleans()) else COUNTS)
    return Usage(total, cached, output, parts or None, draw(st.integers(0, 3)))


@given(st.sampled_from(MODELS), usages(), st.booleans())
@settings(max_examples=600, deadline=None)
def test_it_says_what_genai_prices_says(model: str, usage: Usage, batch: bool) -> None:
    genai_prices = pytest.importorskip("genai_prices")
    period = prices_of(model, now=NOW).periods[0]
    rates = period.rates if batch else period.standard
    if rates is None or (usage.output and "output" not in rates):
        return
    theirs: dict[str, Any] = {
        "input_tokens": usage.input, "cache_read_tokens": usage.cached, "output_tokens": usage.output,
        **{THEIRS[kind]: count for kind, count in (usage.parts or {}).items()},
        "web_searches": usage.queries if "web_search" in rates else min(usage.queries, 1),
    }  # fmt: skip
    try:
        expected = genai_prices.calc_price(
            genai_prices.Usage(**theirs), model, provider_id="google", genai_request_timestamp=NOW,
            price_context={"processing": "batch"} if batch else None,
        ).total_price  # fmt: skip
    except ValueError:
        with pytest.raises(ImpossibleUsageError):
            Tariff(rates).cost(usage)
        return
    try:
        found = Tariff(rates).cost(usage)
    except ImpossibleUsageError:
        # Stricter: what the price does not depend on may not contradict itself either.
        assert usage.cached > usage.input or "cached" not in rates
        return
    assert Decimal(found) / PICO == expected


RATES = {"input": 1.0, "input_above_200k": 2.0, "cached": 0.25, "output": 8.0, "output_above_200k": 12.0, "input_audio": 3.0,
         "cached_audio": 0.5, "output_image": 60.0}  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(1_000_000 // 10), Decimal("0.1")),
        (Usage(1000, 400, 10), Decimal("0.00078")),
        (Usage(200_000, 0, 1), Decimal("0.200008")),
        (Usage(200_001, 0, 1), Decimal("0.400014")),
        (Usage(1000, 0, 0, {"input_audio": 100}), Decimal("0.0012")),
        (Usage(1000, 500, 0, {"input_audio": 100, "cached_audio": 50, "cached_image": 0}), Decimal("0.0007375")),
        (Usage(0, 0, 1400, {"output_image": 1120}), Decimal("0.06944")),
        (Usage(1000, 0, 0, {"input_video": 900}), Decimal("0.001")),
    ],
)
def test_each_token_is_priced_once(usage: Usage, usd: Decimal) -> None:
    assert Decimal(Tariff(RATES).cost(usage)) / PICO == usd


def test_rates_of_requests_are_not_those_of_their_sum() -> None:
    tariff = Tariff({"input": 0.625, "input_above_200k": 1.25, "output": 5.0, "output_above_200k": 7.5})

    assert 300 * tariff.cost(Usage(1000, 0, 100)) / PICO == 0.3375
    assert tariff.cost(Usage(300_000, 0, 30_000)) / PICO == 0.6


def test_a_kind_without_a_rate_costs_what_it_is_a_part_of() -> None:
    tariff = Tariff({"input": 1.0, "output": 2.0})

    assert tariff.cost(Usage(10, 5, 3, {"input_audio": 4, "output_image": 1})) == tariff.cost(Usage(10, 0, 3))


def test_searches_by_query_and_by_prompt() -> None:
    assert Tariff({"input": 0.0, "web_search": 14.0}).cost(Usage(queries=3)) / PICO == 0.042
    assert Tariff({"input": 0.0, "grounded_prompt": 35.0}).cost(Usage(queries=3)) / PICO == 0.035


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        (Usage(5, 10), r"cached \(10\) exceeds input \(5\)"),
        (Usage(-5, 0), "negative: input -5"),
        (Usage(5, -1), "negative"),
        (Usage(5, 0, -1), "negative"),
        (Usage(5, 0, 0, {"input_audio": 6}), "parts exceed the whole: input is 5"),
        (Usage(5, 0, 0, {"input_audio": -6}), r"not a part of input_audio \(-6\)"),
        (Usage(5, 0, 3, {"output_image": 4}), r"output_image \(4\) is not a part of output \(3\)"),
        (Usage(5, 2, 0, {"input_audio": 3}), "does not say how many tokens are both"),
        (Usage(9, 2, 0, {"input_audio": 3, "cached_audio": 4}), r"cached_audio \(4\) is not a part of input_audio \(3\)"),
        (Usage(5, 0, 3, unsplit=True), "does not say how many of the 3 output tokens they are"),
    ],
)
def test_impossible_usage_is_explained(usage: Usage, why: str) -> None:
    with pytest.raises(ImpossibleUsageError, match=why):
        Tariff(RATES).cost(usage)


def test_output_without_a_rate_is_not_free() -> None:
    with pytest.raises(ImpossibleUsageError, match="7 output tokens, and no rate for output is known"):
        Tariff({"input": 1.0}).cost(Usage(1, 0, 7))
