"""The audit finds errors: each kind is planted in the tables of a finished run, and found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from crashing.audit import Findings, audit
from crashing.calls import CARRIED, body_of, write_source

ROWS = 9
Row = dict[str, Any]


def carried(row: int) -> Row:
    """The carried columns of a row as a table holds them: times of day are text there."""
    values = {name: value(row) for name, (_, value) in CARRIED.items()}
    return values | {"clock": values["clock"].isoformat()}


def schema(table: str) -> pa.Schema:
    types = {name: kind for name, (kind, _) in CARRIED.items()} | {"clock": pa.string(), "kind": pa.string()}
    own = "text" if table == "results" else "request"
    return pa.schema([("key", pa.string()), *types.items(), (own, pa.string())])


@pytest.fixture
def audited(tmp_path: Path) -> Callable[..., Findings]:
    """A function that audits a finished run of nine rows, the last of which is a dead letter, after changing it."""

    def audit_changed(
        change: Callable[[list[Row], list[Row]], None] = lambda *_: None, jobs: tuple[str, ...] = (), **summary: Any
    ) -> Findings:
        results = [{"key": f"k{row}", **carried(row), "text": body_of(row)} for row in range(ROWS - 1)]
        dead_letter = [{"key": f"k{ROWS - 1}", **carried(ROWS - 1), "request": json.dumps({"text": body_of(ROWS - 1)})}]
        change(results, dead_letter)
        for name, rows in (("results", results), ("dead_letter", dead_letter)):
            (tmp_path / "run" / name).mkdir(parents=True)
            pq.write_table(pa.Table.from_pylist(rows, schema(name)), tmp_path / "run" / name / "part-00000-0.parquet")
        content = {"rows": ROWS, "results": len(results), "dead_letter": len(dead_letter), "balanced": True}
        (tmp_path / "run" / "summary.json").write_text(json.dumps(content | summary))
        write_source(str(tmp_path / "source.parquet"), ROWS)
        return audit(str(tmp_path / "run"), str(tmp_path / "source.parquet"), list(jobs))

    return audit_changed


def test_a_correct_run_has_no_errors(audited: Callable[..., Findings]) -> None:
    found = audited(jobs=("gb-a shard 0 attempt 0", "gb-b shard 0 attempt 1", "another project's", "another project's"))

    assert found.errors == 0
    assert (found.rows, found.results, found.dead_letter, found.jobs, found.most_jobs) == (ROWS, ROWS - 1, 1, 2, 1)


def lose(results: list[Row], dead_letter: list[Row]) -> None:
    del results[3]


def duplicate(results: list[Row], dead_letter: list[Row]) -> None:
    results.append(results[3])


def put_into_both_tables(results: list[Row], dead_letter: list[Row]) -> None:
    dead_letter.append({"key": "k3", **carried(3), "request": body_of(3)})


def swap_answers(results: list[Row], dead_letter: list[Row]) -> None:
    results[2]["text"], results[3]["text"] = results[3]["text"], results[2]["text"]


def swap_keys(results: list[Row], dead_letter: list[Row]) -> None:
    results[2]["key"], results[3]["key"] = results[3]["key"], results[2]["key"]


def change_the_request(results: list[Row], dead_letter: list[Row]) -> None:
    dead_letter[0]["request"] = body_of(1)


def add_an_unknown_key(results: list[Row], dead_letter: list[Row]) -> None:
    results.append({"key": "k99", **carried(99), "text": body_of(99)})


def change_a_carried_value(results: list[Row], dead_letter: list[Row]) -> None:
    results[4]["money"] = results[5]["money"]


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        (lose, {"lost": 1}),
        (duplicate, {"duplicated": 1}),
        (put_into_both_tables, {"duplicated": 1}),
        (swap_answers, {"mismatched": 2}),
        (swap_keys, {"mismatched": 2}),
        (change_the_request, {"mismatched": 1}),
        (change_a_carried_value, {"mismatched": 1}),
        (add_an_unknown_key, {"unknown_keys": 1, "mismatched": 1}),
    ],
)
def test_an_error_in_the_tables_is_found(change: Any, errors: dict[str, int], audited: Callable[..., Findings]) -> None:
    found = audited(change)

    assert {name: getattr(found, name) for name in errors} == errors
    assert found.errors == sum(errors.values())


def test_a_second_job_for_a_shard_and_attempt_is_found(audited: Callable[..., Findings]) -> None:
    found = audited(jobs=("gb-a shard 0 attempt 0", "gb-a shard 0 attempt 0"))

    assert (found.most_jobs, found.duplicate_jobs) == (2, 1)


@pytest.mark.parametrize("wrong", [{"results": 4}, {"balanced": False}])
def test_a_summary_that_disagrees_with_the_tables_is_found(wrong: dict[str, Any], audited: Callable[..., Findings]) -> None:
    assert audited(**wrong).wrong_summaries == 1
