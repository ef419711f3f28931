"""The harness notices what it is there to notice: each wrong is planted in the tables of a finished run, and found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from crashing.audit import Findings, audit
from crashing.work import body_of, make_source

ROWS = 9
Row = dict[str, Any]


@pytest.fixture
def audited(tmp_path: Path) -> Callable[..., Findings]:
    """A finished run of nine rows, the last of which died; changed, and audited."""

    def look(
        change: Callable[[list[Row], list[Row]], None] = lambda *_: None, jobs: tuple[str, ...] = (), **summary: Any
    ) -> Findings:
        results = [{"key": f"k{row}", "body": body_of(row), "text": body_of(row)} for row in range(ROWS - 1)]
        letters = [{"key": f"k{ROWS - 1}", "body": body_of(ROWS - 1), "request": json.dumps({"text": body_of(ROWS - 1)})}]
        change(results, letters)
        for name, rows in (("results", results), ("dead_letter", letters)):
            (tmp_path / "run" / name).mkdir(parents=True)
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / "run" / name / "part-00000-0.parquet")
        told = {"rows": ROWS, "results": len(results), "dead_letter": len(letters), "balanced": True}
        (tmp_path / "run" / "summary.json").write_text(json.dumps(told | summary))
        make_source(str(tmp_path / "source.parquet"), ROWS)
        return audit(str(tmp_path / "run"), str(tmp_path / "source.parquet"), list(jobs))

    return look


def test_a_run_as_it_should_be_has_nothing_wrong(audited: Callable[..., Findings]) -> None:
    found = audited(jobs=("gb-a shard 0 attempt 0", "gb-b shard 0 attempt 1", "somebody else's", "somebody else's"))

    assert found.wrong == 0
    assert (found.rows, found.results, found.dead_letter, found.jobs, found.most_jobs) == (ROWS, ROWS - 1, 1, 2, 1)


def lose(results: list[Row], letters: list[Row]) -> None:
    del results[3]


def double(results: list[Row], letters: list[Row]) -> None:
    results.append(results[3])


def have_in_both(results: list[Row], letters: list[Row]) -> None:
    letters.append({"key": "k3", "body": body_of(3), "request": body_of(3)})


def swap_answers(results: list[Row], letters: list[Row]) -> None:
    results[2]["text"], results[3]["text"] = results[3]["text"], results[2]["text"]


def swap_keys(results: list[Row], letters: list[Row]) -> None:
    results[2]["key"], results[3]["key"] = results[3]["key"], results[2]["key"]


def mistake_the_request(results: list[Row], letters: list[Row]) -> None:
    letters[0]["request"] = body_of(1)


def add_a_stranger(results: list[Row], letters: list[Row]) -> None:
    results.append({"key": "k99", "body": body_of(99), "text": body_of(99)})


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lose, {"lost": 1}),
        (double, {"doubled": 1}),
        (have_in_both, {"doubled": 1}),
        (swap_answers, {"misjoined": 2}),
        (swap_keys, {"misjoined": 2}),
        (mistake_the_request, {"misjoined": 1}),
        (add_a_stranger, {"foreign": 1, "misjoined": 1}),
    ],
)
def test_a_wrong_in_the_tables_is_found(change: Any, wrong: dict[str, int], audited: Callable[..., Findings]) -> None:
    found = audited(change)

    assert {name: getattr(found, name) for name in wrong} == wrong
    assert found.wrong == sum(wrong.values())


def test_a_second_job_for_a_shard_and_attempt_is_found(audited: Callable[..., Findings]) -> None:
    found = audited(jobs=("gb-a shard 0 attempt 0", "gb-a shard 0 attempt 0"))

    assert (found.most_jobs, found.duplicates) == (2, 1)


@pytest.mark.parametrize("untrue", [{"results": 4}, {"balanced": False}])
def test_a_summary_that_says_something_else_is_found(untrue: dict[str, Any], audited: Callable[..., Findings]) -> None:
    assert audited(**untrue).unbalanced == 1
