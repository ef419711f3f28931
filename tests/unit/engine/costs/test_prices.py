"""Which models have a known batch price, and what is frozen into a run."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import importlib.util
import logging
import sys

import msgspec
import pytest

from airflow_gemini_batch.engine.costs import prices
from airflow_gemini_batch.engine.costs.prices import LIST_DATE, Prices, prices_of, same_model

needs_list = pytest.mark.skipif(importlib.util.find_spec("genai_prices") is None, reason="the extra costs is not installed")

NOW = dt.datetime(2026, 11, 25, tzinfo=dt.timezone.utc)

#: USD per million tokens in the price list of this version: input, cached, output.
KNOWN = {
    "gemini-4-argon": (1, 0.05, 5),
    "gemini-3.8-flash": (0.375, 0.0375, 1.875),
    "gemini-3.6-flash": (0.375, 0.0375, 1.875),
    "gemini-3.5-flash-lite": (0.15, 0.02, 1.25),
    "gemini-3.1-flash-lite": (0.125, 0.0125, 0.75),
    "gemini-3.1-pro-preview": (1, 0.2, 6),
    "gemini-3-flash-preview": (0.25, 0.05, 1.5),
    "gemini-2.5-pro": (0.625, 0.125, 5),
    "gemini-2.5-flash": (0.15, 0.03, 1.25),
    "gemini-2.5-flash-lite": (0.05, 0.01, 0.2),
    "gemini-3-pro-image-preview": (1, None, 6),
    "gemini-3.1-flash-image-preview": (0.25, None, 1.5),
    "gemini-3.1-flash-lite-image": (0.125, None, 0.75),
    "gemini-nano-banana-2.1": (0.75, None, 3.75),
    "gemini-2.5-flash-tts": (0.25, None, 5),
    "gemini-2.5-pro-tts": (0.5, None, 10),
    "gemini-3.1-flash-tts-preview": (0.5, None, 10),
    "gemini-3.8-flash-tts": (0.25, None, 4.5),
    "gemini-3.8-flash-lite-tts": (0.25, None, 3),
    "gemini-embedding-2": (0.1, None, None),
}

#: For these the list gives the standard price, nothing, or another model's, without a word.
UNKNOWN = [
    "gemini-3.5-flash",
    "gemini-3.7-flash",
    "gemini-embedding-001",
    "gemini-2.5-flash-lite-preview-tts",
    "gemini-omni-1.1-flash",
    "gemini-robotics-er-2-preview",
    "gemini-3.8-live",
    "gemini-3-pro-preview",
    "gemini-2.5-flash-image",
    "gemini-2.0-flash",
    "gemini-1.5-pro",
    "gemma-3",
    "gemma-4-31b-it",
    "gemini-4-carbon",
    "text-embedding-004",
    "tunedModels/x",
    "gemini-3.8-flash-lite",
]


@needs_list
@pytest.mark.parametrize(("model", "expected"), KNOWN.items())
def test_a_known_batch_price_is_half_of_the_standard_one(model: str, expected: tuple[float | None, ...]) -> None:
    found = prices_of(model, now=NOW)

    first = found.periods[0]
    assert first.rates is not None
    assert first.standard is not None
    assert tuple(first.rates.get(kind) for kind in ("input", "cached", "output")) == expected
    assert first.standard["input"] == 2 * first.rates["input"]
    assert (found.matched, found.source, found.date) == (
        model,
        f"genai-prices {importlib.metadata.version('genai-prices')}",
        "2026-11-25",
    )


@needs_list
@pytest.mark.parametrize("model", UNKNOWN)
def test_a_price_that_is_not_known_is_said_and_never_the_standard_one(model: str) -> None:
    found = prices_of(model, now=NOW)

    assert found.source == "unknown"
    assert all(period.rates is None and period.why for period in found.periods)


@needs_list
def test_a_sibling_s_price_is_not_taken() -> None:
    [period] = prices_of("gemini-3.8-flash-lite", now=NOW).periods

    assert period.why == "genai-prices does not know gemini-3.8-flash-lite; its nearest name is gemini-3.8-flash, another model"


@needs_list
@pytest.mark.parametrize(
    ("name", "matched"),
    {
        "models/gemini-2.5-pro": "gemini-2.5-pro",
        "gemini-2.5-flash-preview-09-2025": "gemini-2.5-flash",
        "gemini-2.5-flash-preview-tts": "gemini-2.5-flash-tts",
        "gemini-flash-latest": "gemini-3.8-flash",
        "gemini-3-pro-image": "gemini-3-pro-image-preview",
    }.items(),
)
def test_other_names_of_a_model_are_known(name: str, matched: str) -> None:
    found = prices_of(name, now=NOW)

    assert found.matched == matched
    assert found.periods[0].rates


@needs_list
def test_a_price_that_will_change_is_known_by_its_days() -> None:
    found = prices_of("gemini-4-argon", now=NOW)

    def rate(*day: int) -> float:
        return (found.at(dt.datetime(*day, tzinfo=dt.timezone.utc)).rates or {})["input"]  # type: ignore[misc]

    assert (rate(2026, 11, 1), rate(2026, 11, 30, 23, 59), rate(2026, 12, 1), rate(2027, 5, 1)) == (1, 1, 2, 2)
    evening = dt.datetime(2026, 11, 30, 19, tzinfo=dt.timezone(dt.timedelta(hours=-8)))
    assert found.at(evening).since == "2026-12-01", "days are those of UTC"


@needs_list
def test_before_batch_prices_were_listed_none_is_known() -> None:
    first, second = prices_of("gemini-2.5-pro", now=dt.datetime(2026, 10, 1, tzinfo=dt.timezone.utc)).periods

    assert first.rates is None
    assert second.since == "2026-10-14"
    assert second.rates


@needs_list
def test_searches_are_billed_by_prompt_or_by_query() -> None:
    def searches(model: str) -> dict[str, float]:
        rates = prices_of(model, now=NOW).periods[0].rates or {}
        return {kind: rate for kind, rate in rates.items() if kind in ("web_search", "grounded_prompt")}

    assert searches("gemini-2.5-flash") == {"grounded_prompt": 35}
    assert searches("gemini-3.6-flash") == {"web_search": 14}


@needs_list
def test_given_rates_count_and_the_list_still_says_what_standard_is() -> None:
    found = prices_of("models/gemini-3.5-flash", {"gemini-3.5-flash": {"input": 0.75, "output": 4.5}}, now=NOW)

    assert found.source == "given"
    assert [period.rates for period in found.periods] == [{"input": 0.75, "output": 4.5}]
    assert found.periods[0].standard == {"input": 1.5, "cached": 0.15, "output": 9, "web_search": 14}


def test_given_rates_need_no_list() -> None:
    found = prices_of("tunedModels/mine", {"tunedModels/mine": {"input": 1.0}}, now=NOW)

    assert (found.source, found.matched, found.periods[0].rates) == ("given", None, {"input": 1.0})


@needs_list
def test_half_is_an_assumption_that_is_named() -> None:
    found = prices_of("gemini-3.5-flash", {"gemini-3.5-flash": "half"}, now=NOW)

    assert found.source.startswith("half of genai-prices ")
    assert found.periods[0].rates == {"input": 0.75, "cached": 0.15, "output": 4.5, "web_search": 14}


def test_without_the_package_no_price_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)

    [period] = prices_of("gemini-2.5-pro", now=NOW).periods

    assert period.rates is None
    assert "airflow-gemini-batch[costs]" in period.why


@needs_list
@pytest.mark.parametrize(("days", "warned"), [(60, False), (61, True)])
def test_an_old_list_is_warned_about(days: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    prices_of("gemini-2.5-pro", now=dt.datetime.combine(LIST_DATE, dt.time(12), dt.timezone.utc) + dt.timedelta(days=days))

    assert ("Upgrade it" in caplog.text) is warned


@needs_list
def test_the_constant_is_of_the_version_that_is_installed() -> None:
    assert importlib.metadata.version("genai-prices") == prices.LIST_VERSION


@needs_list
def test_prices_survive_the_manifest() -> None:
    found = prices_of("gemini-2.5-pro", now=NOW)

    assert msgspec.json.decode(msgspec.json.encode(found), type=Prices) == found


def test_an_alias_covers_the_model_that_it_stood_for() -> None:
    found = Prices("gemini-flash-latest", "gemini-3.8-flash", "genai-prices 0.2.3", "2026-11-25", ())

    assert found.covers("gemini-3.8-flash")
    assert found.covers("gemini-3.8-flash-preview-10-2026")
    assert found.covers(None)
    assert not found.covers("gemini-4-flash")
    assert not found.covers("gemini-3.8-flash-lite")


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [
        ("gemini-2.5-flash-001", "gemini-2.5-flash", True),
        ("models/gemini-2.5-flash", "Gemini-2.5-Flash-Latest", True),
        ("gemini-4-argon", "gemini-3-argon", False),
        ("gemini-2.5-flash-lite", "gemini-2.5-flash", False),
        ("gemini-2.5-flash-image-preview", "gemini-2.5-flash", False),
    ],
)
def test_editions_of_one_model_are_the_same_model(name: str, other: str, same: bool) -> None:
    assert same_model(name, other) is same
