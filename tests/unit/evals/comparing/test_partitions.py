"""Rows on disk by the hashes of their keys: nothing is lost, and how many files there are changes nothing."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.evals import ScorerTotals
from airflow_gemini_batch.evals.comparing.pair import PairedRuns, on_disk
from airflow_gemini_batch.evals.comparing.partitions import Partitions, encoded, partitions_of
from airflow_gemini_batch.evals.comparing.sides import Reasons, Side
from airflow_gemini_batch.evals.comparing.tallies import Compared
from airflow_gemini_batch.evals.runs import FinishedRun
from airflow_gemini_batch.evals.scores import existing_scores
from benchmarks.finished_runs import scores_of, write_run

SCHEMA = pa.schema([pa.field("key", pa.string()), pa.field("number", pa.int64())])


@pytest.mark.parametrize("count", [1, 7])
def test_every_row_comes_back_once_and_a_key_is_in_one_partition(count: int) -> None:
    keys = [f"k{number % 90}" for number in range(500)] + [""] * 3
    with Partitions(SCHEMA, count) as table:
        for start in range(0, len(keys), 100):
            some = keys[start : start + 100]
            table.add(pa.record_batch([pa.array(some), pa.array(range(start, start + len(some)))], schema=SCHEMA))
        table.finish()
        parts = [table.read(number).to_pydict() for number in range(count)]

    assert sorted(itertools.chain.from_iterable(part["number"] for part in parts)) == list(range(len(keys)))
    for one, other in itertools.combinations(parts, 2):
        assert not set(one["key"]) & set(other["key"])
    assert count == 1 or sum(1 for part in parts if part["key"]) > 3


def test_a_table_without_rows_is_read_as_such() -> None:
    with Partitions(SCHEMA, 3) as table:
        table.finish()

        assert [table.read(number).num_rows for number in range(3)] == [0, 0, 0]


def test_keys_have_the_same_place_in_all_columns() -> None:
    keys, places = encoded([pa.array(["a", "b", "a"]), pa.array([], pa.string()), pa.array(["c", "b"])])

    assert keys.to_pylist() == ["a", "b", "c"]
    assert [one.tolist() for one in places] == [[0, 1, 0], [], [2, 1]]


def test_small_runs_have_one_partition_and_large_ones_no_more_than_files_may_be_open() -> None:
    assert [partitions_of(rows) for rows in (0, 1000, 1_000_000, 10**10)] == [1, 1, 15, 64]


def test_the_number_of_partitions_changes_nothing(tmp_path: Path) -> None:
    sides = [_side(tmp_path, name, seed) for seed, name in enumerate("ab")]
    scorer = Compared("right", "boolean", 0.0, 1.0, averaged=True)

    def tallied(partitions: int) -> Any:
        reasons = Reasons()
        first, second = (Side(run, scores, ("doc",), reasons) for run, scores in sides)
        pair = PairedRuns(first, second, [scorer], "doc", ["doc"], reasons)
        with on_disk(first, ["right"], partitions) as baseline, on_disk(second, ["right"], partitions) as candidate:
            pair.read(baseline, candidate, locate(str(tmp_path / f"{partitions}.parquet")))
        [tally] = pair.tallies
        difference = tally.difference(0.95)
        numbers = [difference.n, difference.mean, difference.low, difference.high, difference.p, difference.improved]
        bounds = tally.missing_bounds(0.95)
        assert bounds is not None
        shown = [(one.key, one.difference) for one in pair.examples[0].kept("regressed")]
        slices = {(one.value, one.n): one.difference for one in pair.slice_tallies[0].slices(0.95)}
        return numbers, [bounds.low, bounds.high, bounds.high_ci], pair.keys.counts(), shown, slices

    one, several = tallied(1), tallied(6)

    assert several[0] == pytest.approx(one[0])
    assert several[1] == pytest.approx(one[1])
    assert several[2] == one[2]
    assert sorted(several[3]) == sorted(one[3])
    assert several[4] == pytest.approx(one[4])


def _side(folder: Path, name: str, seed: int) -> tuple[FinishedRun, Any]:
    dice = np.random.default_rng(seed)
    keys = [f"k{number}" for number in dice.permutation(400)[:380]]
    rows = [(key, repeat) for key in keys for repeat in range(2)]
    lost = [row for row in rows if dice.random() < 0.1]
    answered = [row for row in rows if row not in lost]

    def columns(some: list[tuple[str, int]]) -> dict[str, Any]:
        documents = [f"d{int(key[1:]) % 8}" for key, _ in some]
        return {"key": [key for key, _ in some], "repeat": pa.array([repeat for _, repeat in some], pa.int32()), "doc": documents}

    scores = {
        "scorer": ["right"] * len(answered),
        "status": ["scored"] * len(answered),
        "score": dice.integers(0, 2, len(answered)),
    }
    part = scores_of({**columns(answered), **scores, "score": scores["score"].astype(float)})
    missing = scores_of({**columns(lost), "scorer": ["right"] * len(lost), "status": ["missing"] * len(lost)})
    letters = pa.table({**columns(lost), "reason": ["BLOCKED"] * len(lost)})
    totals = [ScorerTotals("right", "boolean", 0, 0, 0, 0, None, 0.0, 1.0)]
    results = [pa.table(columns(answered))]
    write_run(folder / name, results, [letters], [part, missing], totals, run_id=name, repeats=2, carry=["doc"])
    run = FinishedRun.open(str(folder / name))
    return run, existing_scores(run.run, "default")
