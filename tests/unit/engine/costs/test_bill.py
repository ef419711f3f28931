"""The bill of a shard: what is added, what is left out and why, and what is said about it."""

from __future__ import annotations

import datetime as dt
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.costs.bill import (
    IMPOSSIBLE,
    NO_ANSWER,
    NO_PRICE,
    NO_PRICES_KEPT,
    NO_USAGE,
    OTHER_MODEL,
    Bill,
    ShardCost,
)  # fmt: skip
from airflow_gemini_batch.engine.costs.prices import Period, Prices
from airflow_gemini_batch.engine.costs.total import Cost, in_dollars, total_cost
from airflow_gemini_batch.engine.costs.usage import NOTHING, Usage

MORNING = dt.datetime(2026, 11, 30, 8, tzinfo=dt.timezone.utc)
NEXT_DAY = dt.datetime(2026, 12, 1, 8, tzinfo=dt.timezone.utc)

TIERED = {"input": 1.0, "input_above_200k": 2.0, "cached": 0.25, "output": 8.0, "output_above_200k": 12.0}


def prices(*periods: Period, source: str = "genai-prices 0.2.3", model: str = "m-1") -> Prices:
    return Prices(model, "m-1", source, "2026-11-25", periods)


KNOWN = prices(Period("", TIERED, standard={kind: 2 * rate for kind, rate in TIERED.items()}))
CHANGING = prices(Period("", {"input": 1.0}), Period("2026-12-01", {"input": 2.0}))
UNKNOWN = prices(Period("", None, "nobody knows", {"input": 2.0, "output": 2.0}), source="unknown")


def bill_of(prices: Prices | None, ended_at: dt.datetime = MORNING) -> Bill:
    return Bill(prices, "00000-0", MORNING, ended_at)


def test_requests_are_added_up() -> None:
    bill = bill_of(KNOWN)

    costs = [
        bill.add("a", Usage(1000, 400, 10)),
        bill.add("b", NOTHING),
        bill.add("c", None),
        bill.add("d", None, unknown=NO_ANSWER),
    ]

    assert costs == [0.00078, 0.0, None, None]
    assert bill.total() == ShardCost(
        usd=0.00078, priced=1, unpriced={NO_USAGE: 1, NO_ANSWER: 1}, standard_usd=0.00156,
        tokens={"input": 1000, "cached": 400, "output": 10},
    )  # fmt: skip


@pytest.mark.parametrize(("prices", "why"), [(None, NO_PRICES_KEPT), (UNKNOWN, NO_PRICE)])
def test_without_a_price_the_tokens_are_counted_all_the_same(prices: Prices | None, why: str) -> None:
    bill = bill_of(prices)

    assert bill.add("a", Usage(10, 0, 5)) is None
    total = bill.total()
    assert (total.unpriced, total.tokens) == ({why: 1}, {"input": 10, "output": 5})
    assert total.standard_usd == (None if prices is None else 30e-6)


INPUTS = st.one_of(st.integers(0, 300_000), st.sampled_from([199_999, 200_000, 200_001]))
COUNTS = st.lists(st.tuples(INPUTS, st.integers(0, 300_000), st.integers(0, 70_000)), max_size=20)


@given(COUNTS, st.sampled_from([KNOWN, CHANGING, UNKNOWN, None]))
def test_texts_together_cost_what_they_cost_one_by_one(counts: list[tuple[int, int, int]], prices: Prices | None) -> None:
    if prices is CHANGING:
        counts = [(input, cached, 0) for input, cached, _ in counts]
    rows = [(input, min(cached, input), output) for input, cached, output in counts]
    one_by_one, together = bill_of(prices, NEXT_DAY), bill_of(prices, NEXT_DAY)
    expected = [one_by_one.add("k", Usage(*row)) for row in rows]
    columns = np.array(rows, np.int64).reshape(len(rows), 3).T

    found = together.add_texts(*columns)

    assert found is not None
    assert [None if np.isnan(cost) else cost for cost in found.tolist()] == expected
    if rows:
        assert together.total() == one_by_one.total()


def test_texts_that_cannot_be_added_together_are_not_added_at_all() -> None:
    without_output, huge = bill_of(CHANGING), bill_of(KNOWN)
    one = np.array([1], np.int64)

    assert without_output.add_texts(one, 0 * one, one) is None
    assert huge.add_texts(one << 45, 0 * one, one) is None
    assert without_output.total().priced == huge.total().priced == 0


def test_a_price_that_changes_while_the_job_runs_gives_two_totals() -> None:
    bill = bill_of(CHANGING, NEXT_DAY)
    bill.add("a", Usage(10**6))

    cost = total_cost("m-1", CHANGING, [bill.total(), ShardCost(usd=1.0, priced=1)])

    assert (cost.usd, cost.usd_at_end) == (2.0, 3.0)
    assert "prices change on 2026-12-01" in cost.basis.notes[-1]
    assert cost.basis.rates == {"": {"input": 1.0}, "2026-12-01": {"input": 2.0}}


def test_jobs_on_both_sides_of_a_change_are_said() -> None:
    before, after = bill_of(CHANGING), Bill(CHANGING, "00001-0", NEXT_DAY, NEXT_DAY)
    before.add("a", Usage(10**6))
    after.add("b", Usage(10**6))

    cost = total_cost("m-1", CHANGING, [before.total(), after.total()])

    assert (cost.usd, cost.usd_at_end) == (3.0, None)
    assert cost.basis.notes == ("prices change on 2026-12-01: each job costs what held when it was created",)


def test_a_price_that_changes_later_gives_one_total() -> None:
    bill = bill_of(CHANGING)
    bill.add("a", Usage(10**6))

    cost = total_cost("m-1", CHANGING, [bill.total()])

    assert (cost.usd, cost.usd_at_end, cost.basis.notes) == (1.0, None, ())
    assert cost.basis.rates == {"": {"input": 1.0}}


def test_given_rates_do_not_change_when_those_of_the_list_do() -> None:
    same = prices(Period("", {"input": 1.0}), Period("2026-12-01", {"input": 1.0}), source="given")

    assert bill_of(same, NEXT_DAY).total().usd_at_end is None


def test_contradictory_usage_is_one_warning_with_an_example(caplog: pytest.LogCaptureFixture) -> None:
    bill = bill_of(KNOWN)

    assert [bill.add(key, Usage(5, 9)) for key in ("a", "b", "c")] == [None] * 3
    assert caplog.messages == []
    assert bill.total().unpriced == {IMPOSSIBLE: 3}
    assert caplog.messages == [
        "Shard 00000-0: the cost of 3 rows is not known, because their usage contradicts itself. "
        "Row 'a': cached (9) exceeds input (5)."
    ]


def test_the_answer_of_another_model_is_not_priced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    bill = bill_of(KNOWN)

    assert bill.add("a", Usage(10), "m-1-preview") == 10e-6
    assert [bill.add("b", Usage(10), "m-2"), bill.add("c", Usage(10), "m-2")] == [None, None]
    assert bill.total().unpriced == {OTHER_MODEL: 2}
    assert caplog.messages == [
        "Shard 00000-0: the cost of 2 rows is not known: m-2 answered, and the prices of the run are of m-1."
    ]


def total(*shards: ShardCost | None, prices: Prices | None = KNOWN) -> Cost:
    return total_cost("m-1", prices, shards)


def test_a_total_says_how_many_requests_it_leaves_out() -> None:
    cost = total(
        ShardCost(usd=1.0, priced=5, unpriced={NO_ANSWER: 2}), ShardCost(usd=0.5, priced=1, unpriced={NO_ANSWER: 1, NO_USAGE: 1})
    )

    assert (cost.usd, cost.unpriced, cost.unpriced_reasons) == (1.5, 4, {NO_ANSWER: 3, NO_USAGE: 1})
    assert str(cost) == "$1.50 without 4 requests of unknown cost (genai-prices 0.2.3, 2026-11-25)"


def test_a_total_of_which_nothing_is_known_is_none() -> None:
    cost = total(ShardCost(unpriced={NO_PRICE: 3}), prices=UNKNOWN)

    assert cost.usd is None
    assert str(cost) == f"cost unknown (nobody knows; 3 requests are left out: {NO_PRICE})"


def test_a_shard_of_an_earlier_version_is_left_out() -> None:
    assert total(None, ShardCost(usd=1.0, priced=1)).unpriced == 1


def test_the_comparison_needs_every_shard() -> None:
    one, empty = ShardCost(usd=1.0, priced=1, standard_usd=2.0), ShardCost()

    assert total(one, one, empty).interactive_usd == 4.0
    assert total(one, ShardCost(usd=1.0, priced=1)).interactive_usd is None
    assert total(empty).interactive_usd is None


def test_an_alias_is_shown_with_the_model_that_it_was_taken_for() -> None:
    assert str(total(prices=prices(Period("", TIERED), model="m-latest"))) == "$0.00 (genai-prices 0.2.3, 2026-11-25, as m-1)"


@pytest.mark.parametrize(
    ("usd", "text"), [(0.0, "$0.00"), (1234.5, "$1,234.50"), (0.0123, "$0.012"), (0.00018, "$0.00018"), (1.8e-6, "$1.8e-06")]
)
def test_small_amounts_keep_two_digits(usd: float, text: str) -> None:
    assert in_dollars(usd) == text
