"""The audit finds errors: each kind is planted in the tables of a finished run, and found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from crashing.audit import CreatedJob, EarlierRun, Findings, audit
from crashing.source_table import CARRIED, body_of, first_asked, write_source

ROWS = 9
Row = dict[str, Any]

#: A job for all rows.
JOB = CreatedJob("gb-a shard 0 attempt 0", ROWS)


def carried(row: int) -> Row:
    """The carried columns of a row as a table holds them: times of day are text there."""
    values = {name: value(row) for name, (_, value) in CARRIED.items()}
    return values | {"clock": values["clock"].isoformat()}


def schema(table: str) -> pa.Schema:
    types = {name: kind for name, (kind, _) in CARRIED.items()} | {"clock": pa.string(), "kind": pa.string()}
    own = {"text": pa.string(), "response_id": pa.string(), "total_tokens": pa.int64(), "job": pa.string()}
    own["reused_from"] = pa.string()
    if table == "dead_letter":
        own = {"request": pa.string(), "reason": pa.string()}
    paid = {"cost_usd": pa.float64(), "paid_by": pa.string()}
    return pa.schema([("key", pa.string()), *types.items(), *own.items(), *paid.items()])


def answered(row: int, **changed: Any) -> Row:
    paid = {"total_tokens": 9, "cost_usd": 0.5, "paid_by": None}
    answer = {"text": body_of(row), "response_id": f"answer {row}", "job": "batches/today", "reused_from": None}
    return {"key": f"k{row}", **carried(row), **answer, **paid, **changed}


def dead(row: int, **changed: Any) -> Row:
    paid = {"cost_usd": 0.0, "paid_by": None}
    return {
        "key": f"k{row}",
        **carried(row),
        "request": json.dumps({"text": body_of(row)}),
        "reason": "safety",
        **paid,
        **changed,
    }


Change = Callable[[list[Row], list[Row]], None]


def write_run(folder: Path, results: list[Row], dead_letter: list[Row]) -> None:
    for name, table in (("results", results), ("dead_letter", dead_letter)):
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(table, schema(name)), folder / name / "part-00000-0.parquet")


def audit_of(
    folder: Path,
    results: list[Row],
    dead_letter: list[Row],
    jobs: list[CreatedJob],
    summary: dict[str, Any],
    earlier: EarlierRun | None = None,
) -> Findings:
    write_run(folder / "run", results, dead_letter)
    counts = {
        "rows": len(results) + len(dead_letter),
        "results": len(results),
        "dead_letter": len(dead_letter),
        "deduplicated": sum(row["paid_by"] is not None for row in (*results, *dead_letter)),
        "reused": sum(row["reused_from"] is not None for row in results),
        "balanced": True,
    }
    (folder / "run" / "summary.json").write_text(json.dumps({**counts, **summary}))
    return audit(str(folder / "run"), str(folder / "source.parquet"), jobs, earlier=earlier)


@pytest.fixture
def audited(tmp_path: Path) -> Callable[..., Findings]:
    """A function that audits a finished run of nine rows, the last of which is a dead letter, after changing it."""

    def audit_changed(change: Change = lambda *_: None, jobs: list[CreatedJob] | None = None, **summary: Any) -> Findings:
        write_source(str(tmp_path / "source.parquet"), ROWS)
        results, dead_letter = [answered(row) for row in range(ROWS - 1)], [dead(ROWS - 1)]
        change(results, dead_letter)
        return audit_of(tmp_path, results, dead_letter, jobs or [JOB], {"rows": ROWS, **summary})

    return audit_changed


def test_a_correct_run_has_no_errors(audited: Callable[..., Findings]) -> None:
    second = CreatedJob("gb-b shard 0 attempt 1", 2)
    found = audited(jobs=[JOB, second, CreatedJob("another project's", 5), CreatedJob("another project's", 5)])

    assert found.errors == 0
    assert (found.rows, found.results, found.dead_letter, found.jobs, found.most_jobs) == (ROWS, ROWS - 1, 1, 2, 1)
    assert (found.requests, found.paid, found.paid_again) == (ROWS, ROWS, 2)


def lose(results: list[Row], dead_letter: list[Row]) -> None:
    del results[3]


def duplicate(results: list[Row], dead_letter: list[Row]) -> None:
    results.append(results[3])


def put_into_both_tables(results: list[Row], dead_letter: list[Row]) -> None:
    dead_letter.append(dead(3))


def swap_answers(results: list[Row], dead_letter: list[Row]) -> None:
    results[2]["text"], results[3]["text"] = results[3]["text"], results[2]["text"]


def swap_keys(results: list[Row], dead_letter: list[Row]) -> None:
    results[2]["key"], results[3]["key"] = results[3]["key"], results[2]["key"]


def change_the_request(results: list[Row], dead_letter: list[Row]) -> None:
    dead_letter[0]["request"] = body_of(1)


def add_an_unknown_key(results: list[Row], dead_letter: list[Row]) -> None:
    results.append(answered(99))


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
    # A key that is there twice has paid twice, too.
    assert found.errors - found.wrong_copies == sum(errors.values())


def test_a_second_job_for_a_shard_and_attempt_is_found(audited: Callable[..., Findings]) -> None:
    found = audited(jobs=[JOB, JOB])

    assert (found.most_jobs, found.duplicate_jobs, found.wrongly_paid) == (2, 1, ROWS)


@pytest.mark.parametrize("requests", [ROWS - 1, ROWS + 1])
def test_a_request_too_many_or_too_few_is_found(requests: int, audited: Callable[..., Findings]) -> None:
    assert audited(jobs=[JOB._replace(requests=requests)]).wrongly_paid == 1


def test_requests_are_not_counted_where_the_service_does_not_say_how_many_a_job_holds(audited: Callable[..., Findings]) -> None:
    found = audited(jobs=[JOB._replace(requests=None)])

    assert (found.requests, found.paid, found.errors) == (0, 0, 0)


@pytest.mark.parametrize("wrong", [{"results": 4}, {"deduplicated": 1}, {"reused": 1}, {"balanced": False}])
def test_a_summary_that_disagrees_with_the_tables_is_found(wrong: dict[str, Any], audited: Callable[..., Findings]) -> None:
    assert audited(**wrong).wrong_summaries == 1


# --- rows that another row has paid for

REPEATED = 16
#: Rows 11 and 12 ask what row 4 asks; rows 13 and 14 ask what row 9 asks, which has no result.
PAYER, FIRST_COPY, SECOND_COPY = 4, 11, 12
DEAD, DEAD_COPY = 9, 13


@pytest.fixture
def audited_repeats(tmp_path: Path) -> Callable[..., Findings]:
    """A function that audits a finished run in which rows repeat requests, after changing it."""

    def audit_changed(change: Change = lambda *_: None) -> Findings:
        write_source(str(tmp_path / "source.parquet"), REPEATED, repeats=True)
        results: list[Row] = []
        dead_letter: list[Row] = []
        for row in range(REPEATED):
            first = first_asked(row)
            table, made = (dead_letter, dead(first)) if first == DEAD else (results, answered(first))
            made |= {"key": f"k{row}", **carried(row), "body": body_of(first)}
            if first != row:
                made |= {"paid_by": f"k{first}", "cost_usd": 0.0, **({"total_tokens": None} if table is results else {})}
            table.append(made)
        change(results, dead_letter)
        requests = len({first_asked(row) for row in range(REPEATED)})
        return audit_of(tmp_path, results, dead_letter, [JOB._replace(requests=requests)], {})

    return audit_changed


def test_rows_that_share_an_answer_are_correct(audited_repeats: Callable[..., Findings]) -> None:
    found = audited_repeats()

    assert found.errors == 0
    assert found.copies == sum(first_asked(row) != row for row in range(REPEATED)) == 7
    assert (found.dead_letter, found.requests) == (3, REPEATED - 7)


def in_row(row: int, **values: Any) -> Change:
    def change(results: list[Row], dead_letter: list[Row]) -> None:
        (found,) = [one for one in (*results, *dead_letter) if one["key"] == f"k{row}"]
        found.update(values)

    return change


def pay_twice(results: list[Row], dead_letter: list[Row]) -> None:
    in_row(FIRST_COPY, paid_by=None, cost_usd=0.5, total_tokens=9)(results, dead_letter)


def move_to_results(results: list[Row], dead_letter: list[Row]) -> None:
    dead_letter.remove(next(row for row in dead_letter if row["key"] == f"k{DEAD_COPY}"))
    results.append(
        answered(DEAD_COPY, body=body_of(DEAD), text=body_of(DEAD), paid_by=f"k{DEAD}", total_tokens=None, cost_usd=0.0)
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(in_row(FIRST_COPY, response_id="answer 5"), id="the answer of another row"),
        pytest.param(in_row(DEAD_COPY, reason="missing"), id="another reason"),
        pytest.param(in_row(FIRST_COPY, paid_by="k5"), id="a payer with another request"),
        pytest.param(in_row(FIRST_COPY, paid_by=f"k{SECOND_COPY}"), id="a payer that has not paid"),
        pytest.param(in_row(FIRST_COPY, paid_by="k99"), id="a payer that is not there"),
        pytest.param(in_row(FIRST_COPY, paid_by=f"k{FIRST_COPY}"), id="itself"),
        pytest.param(in_row(FIRST_COPY, total_tokens=9), id="tokens"),
        pytest.param(in_row(FIRST_COPY, cost_usd=0.5), id="a cost"),
        pytest.param(in_row(FIRST_COPY, cost_usd=None), id="no cost"),
        pytest.param(pay_twice, id="a second payer"),
        pytest.param(move_to_results, id="an answer where the payer has none"),
    ],
)
def test_a_wrong_copy_is_found(change: Change, audited_repeats: Callable[..., Findings]) -> None:
    found = audited_repeats(change)

    assert (found.wrong_copies, found.errors) == (1, 1)


def test_a_copy_with_the_carried_columns_of_its_payer_is_found(audited_repeats: Callable[..., Findings]) -> None:
    found = audited_repeats(in_row(FIRST_COPY, **{**carried(PAYER), "body": body_of(PAYER)}))

    assert (found.mismatched, found.errors) == (1, 1)


# --- rows that an earlier run has answered

DAY_ROWS = 40
#: Row 37 asks something else on the second day, and row 5 had no result on the first one.
CHANGED, UNANSWERED = 37, 5
LATER = 1000
FIRST_JOB = CreatedJob("gb-a shard 0 attempt 0", DAY_ROWS, "batches/yesterday")
SECOND_JOB = CreatedJob("gb-b shard 0 attempt 0", 2, "batches/today")


@pytest.fixture
def audited_reuse(tmp_path: Path) -> Callable[..., Findings]:
    """A function that audits a finished run that has reused answers, after changing it."""

    def audit_changed(change: Change = lambda *_: None) -> Findings:
        write_source(str(tmp_path / "source.parquet"), DAY_ROWS, day=2)
        first = [answered(row, job=FIRST_JOB.name) for row in range(DAY_ROWS) if row != UNANSWERED]
        write_run(tmp_path / "moved", first, [dead(UNANSWERED)])
        reused = {"reused_from": "first", "job": FIRST_JOB.name, "total_tokens": None, "cost_usd": 0.0}
        results = [answered(row, **reused) for row in range(DAY_ROWS) if row not in (CHANGED, UNANSWERED)]
        results += [answered(CHANGED, text=body_of(CHANGED + LATER)), answered(UNANSWERED)]
        for result in results:
            row = int(result["key"][1:])
            result |= {**carried(row + LATER), "body": body_of(row + LATER if row == CHANGED else row)}
        change(results, [])
        earlier = EarlierRun("first", str(tmp_path / "moved"), [FIRST_JOB])
        return audit_of(tmp_path, results, [], [SECOND_JOB], {}, earlier)

    return audit_changed


def test_rows_that_reuse_an_answer_are_correct(audited_reuse: Callable[..., Findings]) -> None:
    found = audited_reuse()

    assert found.errors == 0
    assert (found.rows, found.reused, found.requests, found.paid) == (DAY_ROWS, DAY_ROWS - 2, 2, 2)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(in_row(8, response_id="answer 9"), id="the answer of another row"),
        pytest.param(in_row(8, job=SECOND_JOB.name), id="an answer of the second day"),
        pytest.param(in_row(8, reused_from="elsewhere"), id="another run"),
        pytest.param(in_row(8, reused_from=None, total_tokens=9, cost_usd=0.5, job=SECOND_JOB.name), id="not reused"),
        pytest.param(in_row(8, total_tokens=9), id="tokens"),
        pytest.param(in_row(8, cost_usd=None), id="no cost"),
        pytest.param(in_row(CHANGED, reused_from="first"), id="reused although it has changed"),
        pytest.param(in_row(UNANSWERED, job=FIRST_JOB.name), id="paid on the first day"),
    ],
)
def test_a_wrong_answer_of_an_earlier_run_is_found(change: Change, audited_reuse: Callable[..., Findings]) -> None:
    found = audited_reuse(change)

    assert (found.wrong_reuse, found.errors) == (1, 1)


def test_a_reused_row_with_the_carried_columns_of_the_first_day_is_found(audited_reuse: Callable[..., Findings]) -> None:
    found = audited_reuse(in_row(8, **carried(8)))

    assert (found.mismatched, found.errors) == (1, 1)
