"""Every finished run has its page, and no run depends on it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_gemini_batch.emulator import Emulator, HttpFault, RowFault
from airflow_gemini_batch.engine.api import collect, redrive
from airflow_gemini_batch.engine.errors import RefusedError
from airflow_gemini_batch.engine.finish.discarding import discard
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run, summary_of
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.report.summary_page import MOST_BYTES, redraw_summary_page
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import locate
from tests.integration.engine.conftest import SHORT_WAITS, table

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "run" / "summary.html"


def with_errors(emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k3", "k7"), code=13, message="<script>alert(1)</script> try again"))


def test_a_finished_run_has_a_page_that_says_what_came_out(go: Go, emulator: Emulator, page: Path) -> None:
    with_errors(emulator)

    summary = go(prices={"gemini-3.6-flash": {"input": 100.0, "output": 200.0}}, labels={"team": "search"})

    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_BYTES
    for said in ("<b>10</b> results", "<b>2</b> dead letters", "REQUEST_ERROR", "k7", "team=search", "input $100.00", "shard 2"):
        assert said in text, said
    assert f"{summary.tokens['output_tokens']:,} out" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; try again" in text
    assert "<script" not in text


def test_it_is_there_before_the_summary_says_that_the_run_is_finished(go: Go, tmp_path: Path) -> None:
    go()
    run = Run(locate(str(tmp_path / "run")))
    run.summary_file.delete()
    seen: list[tuple[bool, int]] = []

    finish_run(run, draw=lambda run, manifest, summary: seen.append((run.summary_file.exists(), summary.results)))

    assert seen == [(False, 12)]


def test_a_page_that_cannot_be_written_fails_no_run(go: Go, page: Path, caplog: pytest.LogCaptureFixture) -> None:
    page.mkdir(parents=True)  # which no file can replace

    summary = go()

    assert (summary.results, summary.balanced) == (12, True)
    assert summary_of(Run(locate(str(page.parent)))) == summary
    [told] = [record for record in caplog.records if "was not drawn" in record.message]
    assert told.levelname == "WARNING"
    assert re.search(r"summary\.html was not drawn \(\w+: .*gemini-batch report \S+/run draws it", told.message)


def test_while_a_redrive_goes_on_there_is_no_page_and_then_a_new_one(
    go: Go, emulator: Emulator, endpoint: Endpoint, page: Path
) -> None:
    with_errors(emulator)
    go()
    emulator.faults.clear()
    emulator.faults.add(HttpFault(do="status", status=400, method="POST", path=":batchGenerateContent"))
    with pytest.raises(RefusedError):
        redrive(str(page.parent), options=SHORT_WAITS, endpoint=endpoint)
    assert not page.exists()
    emulator.faults.clear()

    collect(str(page.parent), options=SHORT_WAITS, endpoint=endpoint)

    assert "<b>12</b> results" in page.read_text(encoding="utf-8")


def test_a_run_that_is_checked_again_is_drawn_again(go: Go, page: Path) -> None:
    go()
    page.write_text("old")
    next((page.parent / "results").glob("*.parquet")).unlink()

    go()

    assert "<b>12</b> results" in page.read_text(encoding="utf-8")


def test_a_finished_run_that_is_called_again_draws_nothing(go: Go, page: Path) -> None:
    go()
    page.write_text("as it is")

    go()

    assert page.read_text() == "as it is"


def test_replacing_a_run_replaces_its_page(go: Go, page: Path) -> None:
    go()

    go(source=table(3), if_exists="replace")

    assert "<b>3</b> results" in page.read_text(encoding="utf-8")


def test_a_page_is_no_run_and_no_part_of_a_table(go: Go, emulator: Emulator, earlier: str, tmp_path: Path) -> None:
    go(destination=earlier)
    paid = len(emulator.journal("create"))

    again = go(destination=str(tmp_path / "lake" / "tuesday"), reuse=str(tmp_path / "lake"))

    assert sorted(os.listdir(earlier)) == ["_run", "dead_letter", "results", "summary.html", "summary.json"]
    assert (again.reused, len(emulator.journal("create"))) == (12, paid)
    assert "12 answered by earlier runs" in (tmp_path / "lake/tuesday/summary.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("repeats", "said"), [(1, "7 rows answered with another row's request"), (2, "16 requests, 2 answers to each row")]
)
def test_repeats_and_duplicates_are_named_on_the_page(go: Go, repeats: int, said: str, page: Path) -> None:
    go(source=[{"id": f"k{number}", "body": "the same"} for number in range(8)], repeats=repeats)

    assert said in page.read_text(encoding="utf-8")


def test_a_page_that_is_drawn_again_counts_what_was_discarded(go: Go, emulator: Emulator, page: Path) -> None:
    with_errors(emulator)
    go()
    assert "Discarded" not in page.read_text(encoding="utf-8")

    discard(str(page.parent), keys=["k7"], by="ada")
    redraw_summary_page(Run(locate(str(page.parent))))

    assert "Discarded, so that no redrive sends them again: 1." in page.read_text(encoding="utf-8")
