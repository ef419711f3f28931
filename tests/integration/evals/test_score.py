"""``score`` on runs that the emulator answered: every row is scored, missing or explained, however often it is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from airflow_gemini_batch import DestinationError, GenerateRequest, InputError, redrive, run_batch
from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.evals import Contains, ExactMatch, Scorer, score
from airflow_gemini_batch.evals.scores import SCORES_SCHEMA

pytestmark = pytest.mark.integration

ROWS = 12
OPTIONS = {"poll_interval": 0.05, "listing_lag": 0.1, "max_redrives": 0, "max_shard_requests": 7}
SCORED_AND_MISSING = {("contains", "scored"): 22, ("contains", "missing"): 2}


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def endpoint(emulator: Emulator) -> Endpoint:
    return Endpoint(api_key="AIzaAnyKey", base_url=emulator.url)


@pytest.fixture
def run(emulator: Emulator, endpoint: Endpoint, tmp_path: Path) -> str:
    """A finished run of twelve rows, sent twice each, of which two answers are dead letters."""
    emulator.faults.add(RowFault(do="error", keys=("k3#0", "k4#1"), code=13))
    numbers = range(ROWS)
    rows = {
        "id": [f"k{n}" for n in numbers],
        "body": [f"number {n}" for n in numbers],
        "expected": [f"number {n}" for n in numbers],
    }
    destination = str(tmp_path / "run")
    request = GenerateRequest(prompt="Repeat: ${body}")
    carry = ["body", "expected"]
    summary = run_batch(
        pa.table(rows), request, model="gemini-3.6-flash", destination=destination, key="id", carry=carry, repeats=2,
        options=OPTIONS, endpoint=endpoint,
    )  # fmt: skip
    emulator.faults.clear()
    assert (summary.results, summary.dead_letter) == (22, 2)
    return destination


def written(run: str, name: str = "default") -> list[dict[str, Any]]:
    table = ds.dataset(Path(run) / "scores" / name).to_table()
    assert table.schema == SCORES_SCHEMA
    return table.to_pylist()


def counts(rows: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    return dict(Counter((row["scorer"], row["status"]) for row in rows))


def state(run: str) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in (Path(run) / "scores" / "default").iterdir()}


def test_every_row_is_scored_or_missing(run: str) -> None:
    scores = score(run, [Contains(), Scorer("length", lambda row: float(len(row["text"])), "float")])

    rows = written(run)
    pairs = sorted((f"k{row}", repeat) for row in range(ROWS) for repeat in range(2))
    assert sorted((row["key"], row["repeat"]) for row in rows if row["scorer"] == "length") == pairs
    assert counts(rows) == {**SCORED_AND_MISSING, ("length", "scored"): 22, ("length", "missing"): 2}
    missing = [row for row in rows if row["status"] == "missing"]
    assert {(row["key"], row["repeat"]) for row in missing} == {("k3", 0), ("k4", 1)}
    assert all(row["explanation"] and row["score"] is None and row["passed"] is None for row in missing)
    assert (scores["contains"].mean, scores["contains"].kind, scores["length"].kind) == (1.0, "boolean", "float")
    assert (scores["contains"].scored, scores["contains"].missing) == (22, 2)
    assert str(scores).startswith("contains 1 over 22 rows (2 missing)")


def test_the_same_call_again_writes_nothing_and_other_scorers_replace_the_scores(run: str) -> None:
    first = score(run, Contains())
    before = state(run)

    assert score(run, Contains()) == first
    assert state(run) == before
    score(run, ExactMatch())
    assert {row["scorer"] for row in written(run)} == {"exact_match"}


def test_an_interrupted_call_leaves_no_scores_that_are_believed_and_the_next_one_completes_them(run: str) -> None:
    score(run, Contains())

    def interrupts(row: Any) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(run, interrupts)
    assert not (Path(run) / "scores" / "default" / "_scores.json").exists()
    (Path(run) / "scores" / "default" / "part-99999-9.parquet").write_bytes(b"of another call")
    score(run, Contains())

    assert counts(written(run)) == SCORED_AND_MISSING


def test_a_run_that_was_redriven_is_scored_again(run: str, endpoint: Endpoint) -> None:
    score(run, Contains())
    redrive(run, options=OPTIONS, endpoint=endpoint)

    assert score(run, Contains())["contains"].scored == 24
    assert counts(written(run)) == {("contains", "scored"): 24}


def test_expected_values_come_from_a_table_of_labels(run: str) -> None:
    labels = pa.table({"id": [f"k{row}" for row in range(1, ROWS)], "label": ["number 1"] * (ROWS - 1)})

    scores = score(run, Contains(expected="label"), name="labelled", labels=labels, label_key="id")

    # k0 has no label; "number 1" is in the answers to k1, k10 and k11.
    assert counts(written(run, "labelled")) == {
        ("contains", "scored"): 20,
        ("contains", "unlabelled"): 2,
        ("contains", "missing"): 2,
    }
    assert scores["contains"].mean == pytest.approx(6 / 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scorers": ExactMatch(expected="gold")}, "reads the column 'gold'"),
        ({"labels": pa.table({"key": ["k1", "k1"], "gold": ["a", "b"]})}, "key 'k1' in rows 0 and 1"),
        ({"labels": pa.table({"key": ["k1", None], "gold": ["a", "b"]})}, "no key in row 1"),
        ({"labels": pa.table({"key": ["k1"], "expected": ["a"]})}, "both have the column 'expected'"),
        ({"name": "a/b"}, "name of the scores"),
    ],
)
def test_what_cannot_be_scored_is_refused_and_writes_nothing(arguments: dict[str, Any], message: str, run: str) -> None:
    with pytest.raises(InputError, match=message):
        score(run, **{"scorers": Contains(), **arguments})

    assert not (Path(run) / "scores").exists()


def test_only_finished_runs_are_scored(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="holds no run"):
        score(str(tmp_path / "nothing"), Contains())
