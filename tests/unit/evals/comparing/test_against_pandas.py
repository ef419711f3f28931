"""``compare`` on random runs says what an implementation with pandas, SciPy and statsmodels says."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.evals import Comparison, ScorerTotals, compare
from airflow_gemini_batch.evals.statistics.holm import holm
from benchmarks.finished_runs import scores_of, write_run
from tests.unit.evals.comparing.reference import Row, answers, clusters_of, compared, means, why

SCORERS = {"exact": "boolean", "length": "float"}
KEYS = [*(f"k{number}" for number in range(14)), "", "k1#0", "ключ", "a\tb"]
ROW = st.one_of(
    st.sampled_from(["BLOCKED", "JOB_EXPIRED"]),
    st.tuples(
        st.one_of(st.sampled_from([0.0, 1.0]), st.sampled_from(["error", "unlabelled"])),
        st.one_of(st.floats(-5, 5).map(lambda value: round(value, 3)), st.just("error")),
    ),
)
#: Nearly all rows are answered, and some runs have many.
ANSWERED = st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.25, 0.5, 1.5, 2.0]))


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, list[Row]]:
    """A run: how often each key was asked, and its rows in any order."""
    repeats = draw(st.integers(1, 3))
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=len(KEYS), unique=True))
    rows, shift = [], draw(st.integers(0, 1))  # the runs need not agree on the clusters
    for key, repeat in itertools.product(keys, range(repeats)):
        said = draw(st.one_of(ANSWERED, ANSWERED, ROW))
        cluster = f"c{(KEYS.index(key) + shift) % 6}"
        if isinstance(said, str):
            rows.append(Row(key, repeat, said, cluster=cluster))
        else:
            cost = draw(st.sampled_from([None, 0.0, 0.001, 0.002, 0.01]))
            rows.append(Row(key, repeat, None, dict(zip(SCORERS, said, strict=True)), cost, cluster))
    return repeats, draw(st.permutations(rows))


def written(folder: Path, repeats: int, rows: list[Row]) -> str:
    """Two parts of each table, and scores in an order of their own."""

    def columns(some: list[Row]) -> dict[str, Any]:
        found: dict[str, Any] = {
            "key": pa.array([row.key for row in some], pa.string()),
            "cluster": pa.array([row.cluster for row in some], pa.string()),
            "cost_usd": pa.array([row.cost for row in some], pa.float64()),
        }
        return found | ({"repeat": pa.array([row.repeat for row in some], pa.int32())} if repeats > 1 else {})

    answered, lost = [row for row in rows if row.reason is None], [row for row in rows if row.reason is not None]
    half = len(answered) // 2
    results = [
        pa.table({**columns(some), "text": [f"of {row.key}" for row in some], "finish_reason": pa.array(["STOP"] * len(some))})
        for some in (answered[:half], answered[half:])
    ]
    letters = [pa.table({**columns(lost), "reason": pa.array([row.reason for row in lost], pa.string())})]
    parts = [_scores(some) for some in (answered[half:], lost, answered[:half])]
    totals = [ScorerTotals(name, kind, 0, 0, 0, 0, None, *_BOUNDS[kind]) for name, kind in SCORERS.items()]
    write_run(folder, results, letters, parts, totals, run_id=folder.name, repeats=repeats, carry=["cluster"])
    return str(folder)


_BOUNDS: dict[str, tuple[float | None, float | None]] = {"boolean": (0.0, 1.0), "float": (None, None)}


def _scores(rows: list[Row]) -> pa.Table:
    made: dict[str, list[Any]] = {name: [] for name in ("key", "repeat", "scorer", "score", "status")}
    for scorer, row in itertools.product(SCORERS, rows):
        said = row.scores.get(scorer, "missing")
        status, score = (said, None) if isinstance(said, str) else ("scored", said)
        for name, value in zip(made, (row.key, row.repeat, scorer, score, status), strict=True):
            made[name].append(value)
    return scores_of(made)


Run = tuple[int, list[Row]]


@pytest.fixture(scope="module")
def places() -> Iterator[Iterator[Path]]:
    with tempfile.TemporaryDirectory() as folder:
        yield (Path(folder) / str(number) for number in itertools.count())


#: A slow machine is no failure; the fixture only names folders.
_SETTINGS = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking two runs takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_SETTINGS
@given(baseline=runs(), candidate=runs(), level=st.sampled_from([0.8, 0.95]))
def test_scorers_pairs_and_missing_rows(baseline: Run, candidate: Run, level: float, places: Iterator[Path]) -> None:
    place = next(places)
    found = compare(written(place / "a", *baseline), written(place / "b", *candidate), level=level)

    averaged = max(baseline[0], candidate[0]) > 1
    ps = []
    for name, kind in SCORERS.items():
        expected = compared(
            baseline[1], candidate[1], name, boolean=kind == "boolean", averaged=averaged, clustered=False, level=level
        )
        one = found[name]
        assert one.difference == close(expected.difference)
        if expected.ci is not None:
            assert one.ci == close(expected.ci)
            assert one.p == close(expected.p)
        if expected.bounds is not None:
            assert one.bounds is not None
            assert (one.bounds.low, one.bounds.high, one.bounds.as_worst) == close(expected.bounds)
        for side, rows in (("baseline", baseline[1]), ("candidate", candidate[1])):
            reasons = Counter(why(rows, key, name) for key in expected.pairs.index)
            reasons.pop(None, None)
            assert one.missing[side] == dict(reasons)
        _check_sides(found, name, baseline[1], candidate[1])
        _check_pairs(found, name, expected.pairs, baseline[1], candidate[1])
        ps.append(one.p)
    assert [one.p_holm for one in found.scorers] == list(map(close, holm(ps)))
    _check_keys(found, baseline[1], candidate[1])


@_SETTINGS
@given(baseline=runs(), candidate=runs())
def test_clusters(baseline: Run, candidate: Run, places: Iterator[Path]) -> None:
    place = next(places)
    sides = (written(place / "a", *baseline), written(place / "b", *candidate))
    averaged = max(baseline[0], candidate[0]) > 1
    ids = clusters_of(baseline[1], candidate[1])
    scored = [[set(means(rows, name)["mean"].dropna().index) for _, rows in (baseline, candidate)] for name in SCORERS]
    least = min((len({ids[key] for key in first & second}) for first, second in scored if first & second), default=5)

    if least < 5:
        with pytest.raises(InputError, match="clusters; an interval needs 5"):
            compare(*sides, cluster="cluster")
        return
    found = compare(*sides, cluster="cluster")
    for name, kind in SCORERS.items():
        boolean = kind == "boolean"
        expected = compared(baseline[1], candidate[1], name, boolean=boolean, averaged=averaged, clustered=True, level=0.95)
        if found[name].method == "clustered-t":
            assert (found[name].ci, found[name].p) == (close(expected.ci), close(expected.p))


@_SETTINGS
@given(baseline=runs(), candidate=runs())
def test_costs_and_slices(baseline: Run, candidate: Run, places: Iterator[Path]) -> None:
    place = next(places)
    found = compare(written(place / "a", *baseline), written(place / "b", *candidate), slices="cluster")

    costs = [pd.Series({(row.key, row.repeat): row.cost for row in rows}, dtype=float) for _, rows in (baseline, candidate)]
    [amount] = [one for one in found.amounts if one.name == "cost_usd"]
    for total, side in zip((amount.baseline_total, amount.candidate_total), costs, strict=True):
        assert total == close(side.sum() if side.notna().any() else None)
    both = pd.concat([side.groupby(level=0).mean() for side in costs], axis=1).dropna()
    both = both[(both > 0).all(axis=1)]
    assert amount.n == len(both)
    if len(both):
        assert amount.ratio == close(math.exp((both[1].map(math.log) - both[0].map(math.log)).mean()))
    ids = clusters_of(baseline[1], candidate[1])
    for name in SCORERS:
        paired = pd.concat([means(rows, name)["mean"] for _, rows in (baseline, candidate)], axis=1).dropna()
        paired.columns = pd.Index(["was", "now"])
        grouped = paired.groupby([ids[key] for key in paired.index]).mean()
        slices = [one for one in found.slices if one.scorer == name]
        assert sum(one.n for one in slices) == len(paired)
        for one in slices:
            if not one.rest:
                assert (one.baseline, one.candidate) == close(tuple(grouped.loc[one.value]))


def _check_sides(found: Comparison, name: str, *runs: list[Row]) -> None:
    for side, rows in zip((found[name].baseline, found[name].candidate), runs, strict=True):
        expected = means(rows, name)["mean"].dropna()
        assert side.n == len(expected)
        assert side.mean == close(expected.mean() if len(expected) else None)


def _check_pairs(found: Comparison, name: str, pairs: pd.DataFrame, *runs: list[Row]) -> None:
    rows = [row for row in pq.read_table(f"{found.uri}/pairs-00000.parquet").to_pylist() if row["scorer"] == name]
    assert sorted(row["key"] for row in rows) == sorted(pairs.index)
    for row in rows:
        expected = pairs.loc[row["key"]]
        for column, theirs in (("baseline", "b"), ("candidate", "c")):
            assert row[column] == close(_none(expected[f"mean_{theirs}"]))
            assert row[f"{column}_sd"] == close(_none(expected[f"sd_{theirs}"]))
            assert row[f"{column}_repeats"] == (_none(expected[f"n_{theirs}"]) or 0)
        assert (row["baseline_reason"], row["candidate_reason"]) == tuple(why(side, row["key"], name) for side in runs)
        assert row["difference"] == close(_none(expected["difference"]))


def _check_keys(found: Comparison, *runs: list[Row]) -> None:
    (first, lost_first), (second, lost_second) = map(answers, runs)
    keys = {row.key for rows in runs for row in rows}
    counts = found.keys
    assert (counts.baseline, counts.candidate, counts.paired) == (len(first), len(second), len(first & second))
    assert (counts.only_baseline, counts.only_candidate) == (len(first - second), len(second - first))
    assert counts.neither == len(keys - first - second)
    assert counts.reasons == {"baseline": Counter(lost_first.values()), "candidate": Counter(lost_second.values())}
    assert counts.absent == {
        "baseline": len(keys - first - set(lost_first)),
        "candidate": len(keys - second - set(lost_second)),
    }


def _none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def close(value: Any) -> Any:
    return value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)
