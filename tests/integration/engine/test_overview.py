"""A run in one line, and the first rows of its tables, for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.report.overview import Line, line_of
from airflow_gemini_batch.engine.report.table_rows import first_rows, text_of
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt, Table
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import MODEL, SHORT_WAITS, table


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(locate(str(tmp_path / "run")))


def parts(run: Run, table: Table) -> list[Location]:
    return [run.table_part(table, ShardAttempt(number)) for number in range(3)]


def line(run: Run) -> Line:
    found = line_of(run)
    assert found is not None
    return found


def test_a_folder_without_a_run_has_no_line(run: Run) -> None:
    assert line_of(run) is None


def test_a_run_that_was_built_and_not_sent_is_running(run: Run) -> None:
    spec = RunSpec(table(12), GenerateRequest(prompt="Repeat: ${body}"), MODEL, key="id", labels={"team": "x"})
    build_run(run, spec, SHORT_WAITS, owner="d/r/t/-1")

    found = line(run)

    assert (found.state, found.rows, found.results, found.share, found.usd) == ("running", 12, 0, 0.0, 0.0)
    assert (found.owner, found.labels, found.dead_letter_ratio) == ("d/r/t/-1", {"team": "x"}, 0.0)


def test_a_finished_run_has_what_its_summary_says(run: Run, go: Callable[..., Summary], emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", code=3, keys=("k1", "k7", "k8")))
    summary = go()

    found = line(run)

    assert (found.state, found.share, found.results, found.dead_letter) == ("finished", 1.0, 9, 3)
    assert found.dead_letter_ratio == 0.25
    assert found.usd == summary.cost.usd


def test_first_rows_are_text_without_columns_that_say_nothing(run: Run, go: Callable[..., Summary]) -> None:
    go()

    found = first_rows(parts(run, "results"), limit=7)

    assert [row[found.columns.index("key")] for row in found.rows] == [f"k{number}" for number in range(7)]
    assert "number 3" in str(found.rows[3][found.columns.index("text")])
    assert not {"response", "request_sha256", "thoughts"} & set(found.columns)
    assert all(isinstance(value, str | None) for row in found.rows for value in row)


def test_dead_letters_are_chosen_by_their_reason(run: Run, go: Callable[..., Summary], emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", code=3, keys=("k1", "k7", "k8")))
    go()

    found = first_rows(parts(run, "dead_letter"), reason="REQUEST_ERROR")
    none = first_rows(parts(run, "dead_letter"), reason="TRUNCATED")

    assert [row[found.columns.index("key")] for row in found.rows] == ["k1", "k7", "k8"]
    assert none.rows == ()


def test_parts_that_are_absent_or_torn_are_passed_over(run: Run, go: Callable[..., Summary]) -> None:
    go()
    first, second, third = parts(run, "results")
    first.delete()
    second.write(b"PAR1 torn")

    assert [row[0] for row in first_rows([first, second, third]).rows] == ["k10", "k11"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("short", "short"),
        (b"\x00" * 1500, "(1,500 bytes)"),
        ({"a": [1, "é"]}, '{"a": [1, "é"]}'),
        (3, "3"),
        ("x" * 700, "x" * 600 + "… (700 characters)"),
    ],
)
def test_values_are_shown_as_a_person_reads_them(value: Any, text: str | None) -> None:
    assert text_of(value) == text
