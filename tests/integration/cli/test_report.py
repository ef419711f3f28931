"""``gemini-batch report`` draws the page of a finished run again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.cli.conftest import Command


def test_the_page_is_drawn_again_and_its_place_is_printed(run: str, gemini_batch: Command) -> None:
    page = Path(run) / "summary.html"
    page.unlink()

    code, lines, _ = gemini_batch("report", run)

    assert (code, lines) == (0, [str(page)])
    assert "<b>3</b> results" in page.read_text(encoding="utf-8")


def test_as_json_it_says_the_size_too(run: str, gemini_batch: Command) -> None:
    _, lines, _ = gemini_batch("report", run, "--json")

    page = Path(run) / "summary.html"
    assert json.loads("\n".join(lines)) == {"page": str(page), "bytes": page.stat().st_size}


def test_a_run_that_is_not_finished_is_one_line(run: str, gemini_batch: Command) -> None:
    (Path(run) / "summary.json").unlink()

    code, lines, error = gemini_batch("report", run)

    assert (code != 0, lines) == (True, [])
    assert error.count("\n") == 1
    assert "is not finished" in error
    assert f"gemini-batch status {run}" in error
