"""What a row cost is in both tables, and what the shard cost in its counts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.costs.prices import Period, Prices
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from tests.unit.engine.shard_files import answer, receive, rows_of, run_at, write_shard

PRICES = Prices("m", None, "given", "2026-11-01", (Period("", {"input": 1.0, "cached": 0.5, "output": 2.0}),))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = run_at(tmp_path)
    run.manifest_file.write(msgspec.json.encode(msgspec.structs.replace(run.built(), prices=PRICES)))
    return run


def test_usage_that_contradicts_itself_is_a_null_and_one_warning(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    shard = write_shard(run, ["a", "b", "c", "d"])
    wrong = {"promptTokenCount": 5, "candidatesTokenCount": 1, "cachedContentTokenCount": 9, "totalTokenCount": 6}
    right = {**wrong, "cachedContentTokenCount": 2}
    usages = {"a": wrong, "b": right, "c": wrong, "d": {**right, "promptTokenCount": -5}}
    receive(run, shard, [answer(key, **usage) for key, usage in usages.items()])

    landed = land(run, shard, Ending(job="batches/1"))

    rows = rows_of(run.results_part(ShardAttempt(0)))
    assert {row["key"]: row["cost_usd"] for row in rows} == {"a": None, "b": 6e-6, "c": None, "d": None}
    assert landed.cost is not None
    assert (landed.cost.usd, landed.cost.priced, sum(landed.cost.unpriced.values())) == (6e-6, 1, 3)
    [warning] = [message for message in caplog.messages if "contradicts" in message]
    assert warning.startswith("Shard 00000-0: the cost of 3 rows is not known")
    assert warning.endswith("Row 'a': cached (9) exceeds input (5).")


def test_an_answer_of_which_the_usage_is_huge_is_priced_all_the_same(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    huge = answer("a", promptTokenCount=2**62, candidatesTokenCount=0)
    receive(run, shard, [huge, answer("b", promptTokenCount=1, candidatesTokenCount=1)])

    land(run, shard, Ending(job="batches/1"))

    costs = {row["key"]: row["cost_usd"] for row in rows_of(run.results_part(ShardAttempt(0)))}
    assert costs == {"a": 2**62 / 1e6, "b": 3e-6}


def test_answers_with_and_without_counts_are_priced_side_by_side(run: Run) -> None:
    shard = write_shard(run, ["a", "b", "c"])
    full = {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}
    receive(
        run, shard, [answer("a", **full), answer("b"), answer("c", promptTokenCount=3, thoughtsTokenCount=2, totalTokenCount=5)]
    )

    land(run, shard, Ending(job="batches/1"))

    costs = {row["key"]: row["cost_usd"] for row in rows_of(run.results_part(ShardAttempt(0)))}
    assert costs == {"a": 5e-6, "b": None, "c": 7e-6}
