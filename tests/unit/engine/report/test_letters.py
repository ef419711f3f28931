"""The first dead letters of each reason are those that a reader of the whole table would find first."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.report.letters import first_letters
from airflow_gemini_batch.engine.run.storage import Location, locate


def write_part(folder: Path, number: int, reasons: list[str], *, group: int = 7, **columns: list[object]) -> Location:
    """A part whose keys say where each row is."""
    rows = {"key": [f"{number}/{row}" for row in range(len(reasons))], "reason": reasons, "message": ["no"] * len(reasons)}
    schema = {"code": pa.int32(), "request": pa.string(), "response": pa.string()}
    rest = {name: pa.array(columns.get(name, [None] * len(reasons)), type) for name, type in schema.items()}
    file = folder / f"part-{number:05d}-0.parquet"
    pq.write_table(pa.table({**rows, **rest}), file, row_group_size=group)
    return locate(str(file))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from("ABC"), max_size=30), max_size=6), st.integers(1, 12))
def test_they_are_the_first_ones_whatever_parts_and_row_groups_there_are(
    tmp_path: Path, parts: list[list[str]], limit: int
) -> None:
    files = [write_part(tmp_path, number, reasons) for number, reasons in enumerate(parts)]
    every = [(f"{number}/{row}", reason) for number, reasons in enumerate(parts) for row, reason in enumerate(reasons)]

    found = first_letters(files, dict.fromkeys("ABC", limit))

    expected = {reason: [key for key, other in every if other == reason][:limit] for reason in "ABC"}
    assert {reason: [letter.key for letter in letters] for reason, letters in found.items()} == {
        reason: keys for reason, keys in expected.items() if keys
    }


def test_a_letter_has_what_the_table_has(tmp_path: Path) -> None:
    part = write_part(tmp_path, 0, ["A", "B"], code=[3, None], request=["{}", None], response=[None, "<b>"])

    found = first_letters([part], {"A": 1, "B": 1})

    assert (found["A"][0].code, found["A"][0].request, found["A"][0].response) == (3, "{}", None)
    assert (found["B"][0].code, found["B"][0].request, found["B"][0].response) == (None, None, "<b>")


def test_no_part_is_opened_after_the_last_letter_that_was_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [write_part(tmp_path, number, ["A"] * 5) for number in range(40)]
    opened: list[str] = []
    open_part = Location.open
    monkeypatch.setattr(Location, "open", lambda self: opened.append(self.name) or open_part(self))

    first_letters(parts, {"A": 3})

    assert len(set(opened)) <= 8


def test_parts_that_are_absent_or_torn_are_passed_over(tmp_path: Path) -> None:
    whole = write_part(tmp_path, 2, ["A"])
    (tmp_path / "part-00001-0.parquet").write_bytes(b"PAR1 torn")

    found = first_letters([*(locate(str(tmp_path / f"part-{number:05d}-0.parquet")) for number in range(2)), whole], {"A": 2})

    assert [letter.key for letter in found["A"]] == ["2/0"]


def test_nothing_is_read_where_nothing_is_wanted() -> None:
    assert first_letters([locate("/no/such/part.parquet")], {"A": 0}) == {}
