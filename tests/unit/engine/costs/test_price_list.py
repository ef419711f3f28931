"""The behaviours of genai-prices that ``costs/prices`` relies on. They are not documented: one that changes fails here."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("genai_prices", reason="the extra costs is not installed")

from genai_prices import Usage, calc_price, data_snapshot
from genai_prices.types import TieredPrices

NOW = dt.datetime(2026, 11, 25, tzinfo=dt.timezone.utc)
BATCH = {"processing": "batch"}


def info_of(model: str) -> Any:
    _, info = data_snapshot.get_snapshot().find_provider_model(model, None, "google", None)
    return info


def total(model: str, context: dict[str, str] | None = BATCH, *, when: dt.datetime = NOW, **usage: int) -> Decimal:
    return calc_price(
        Usage(**usage), model, provider_id="google", price_context=context, genai_request_timestamp=when
    ).total_price


def test_an_unknown_model_is_a_lookup_error() -> None:
    for name in ("gemini-4-carbon", "models/gemini-2.5-pro", "tunedModels/x"):
        with pytest.raises(LookupError):
            info_of(name)


def test_another_model_with_the_same_beginning_is_matched() -> None:
    assert info_of("gemini-3.8-flash-lite").id == "gemini-3.8-flash"


def test_an_alias_is_an_equals_clause() -> None:
    assert any(getattr(one, "equals", None) == "gemini-flash-latest" for one in info_of("gemini-flash-latest").match.or_)


def test_prices_of_a_context_are_those_without_it_where_there_are_none() -> None:
    info = info_of("gemini-3.5-flash")

    assert info.get_prices(NOW, BATCH) == info.get_prices(NOW)


def test_a_context_in_another_spelling_gives_the_standard_price() -> None:
    info = info_of("gemini-2.5-pro")

    assert info.get_prices(NOW, {"processing": "Batch"}) == info.get_prices(NOW) != info.get_prices(NOW, BATCH)


def test_prices_before_their_first_day_are_the_standard_ones() -> None:
    info = info_of("gemini-2.5-pro")
    before = dt.datetime(2026, 10, 13, tzinfo=dt.timezone.utc)

    assert info.get_prices(before, BATCH) == info.get_prices(before)


def test_a_price_is_a_decimal_or_tiers() -> None:
    price = vars(info_of("gemini-2.5-pro").get_prices(NOW, BATCH))

    assert isinstance(price["input_mtok"], TieredPrices)
    assert (price["input_mtok"].base, [(tier.start, tier.price) for tier in price["input_mtok"].tiers]) == (
        Decimal("0.625"),
        [(200_000, Decimal("1.25"))],
    )
    assert isinstance(price["web_searches_kcount"], Decimal)


def test_changes_are_start_dates_of_prices_and_of_variants() -> None:
    info = info_of("gemini-4-argon")

    found = {getattr(entry.constraint, "start_date", None) for entry in (*info.prices, *info.price_variants)}

    assert found == {None, dt.date(2026, 10, 14), dt.date(2026, 12, 1)}


def test_a_model_without_prices_costs_nothing_there() -> None:
    assert total("gemma-4-31b-it", None, input_tokens=10**6) == 0


def test_all_tokens_of_a_request_above_a_tier_cost_its_rate() -> None:
    assert total("gemini-2.5-pro", input_tokens=200_000, output_tokens=100) == Decimal("0.1255")
    assert total("gemini-2.5-pro", input_tokens=200_001, output_tokens=100) == Decimal("0.25075125")


def test_images_that_are_not_said_cost_the_rate_of_text() -> None:
    said = total("gemini-3-pro-image-preview", input_tokens=1000, output_tokens=1400, output_image_tokens=1120)
    unsaid = total("gemini-3-pro-image-preview", input_tokens=1000, output_tokens=1400)

    assert said > 7 * unsaid


def test_impossible_usage_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="cannot exceed"):
        total("gemini-2.5-pro", input_tokens=1, cache_read_tokens=2)


def test_searches_cost_the_same_in_a_batch() -> None:
    for context in (BATCH, None):
        assert total("gemini-3.6-flash", context, input_tokens=0, web_searches=1000) == 14
