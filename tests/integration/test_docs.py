"""The pages about the capabilities work as they stand there, against the emulator."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.engine.api import drive
from tests.doc_snippets import DOCS, run_snippets

pytestmark = pytest.mark.integration


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a reader has: a key in the environment, and a folder of their own."""
    monkeypatch.chdir(tmp_path)
    with Emulator(tmp_path / "service", pending_seconds=0, running_seconds=0) as emulator:
        monkeypatch.setenv("GOOGLE_API_KEY", "AIzaAnyKey")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
        # A reader's job takes hours and is checked every 30 seconds; this one ends at once.
        monkeypatch.setitem(drive.__kwdefaults__, "sleep", lambda seconds: time.sleep(min(seconds, 0.1)))
        yield


PAGES = ["structured-output.md", "embeddings.md", "images-out.md", "tools-and-thinking.md", "media-in.md", "cached-content.md"]
PAGES += [
    "costs.md",
    "estimates.md",
    "evaluations.md",
    "tutorial.md",
    "dead-letters.md",
    "../README.md",
    "schedule.md",
    "cap-the-cost.md",
    "project-limits.md",
]
PAGES += ["output.md", "from-google-provider.md", "reuse.md", "metrics.md", "scale.md", "summary.md", "statistics.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_run(page: str, service: None) -> None:
    assert run_snippets(page) >= 1


@pytest.mark.parametrize("page", ["inline.md"])
def test_the_snippets_about_reviews_run_where_there_are_some(page: str, service: None) -> None:
    reviews = {"review_id": ["r1", "r2"], "review_text": ["Good. Lasts.", "Broke at once."], "product": ["a", "b"]}
    pq.write_table(pa.table(reviews), "reviews.parquet")

    assert run_snippets(page) >= 1
    assert pq.read_table("summaries/results").num_rows == 2


def test_the_page_about_logs_sets_levels() -> None:
    loggers = [logging.getLogger(name) for name in ("airflow_gemini_batch", "httpx", "google_genai")]
    before = [logger.level for logger in loggers]
    try:
        assert run_snippets("logs.md") == 2
        assert [logger.level for logger in loggers] == [logging.INFO] * 3
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def test_the_snippets_of_every_page_are_run_by_a_test() -> None:
    pages = {page.name for page in DOCS.glob("*.md") if "```python" in page.read_text(encoding="utf-8")}
    named = {
        name for file in DOCS.parent.glob("tests/**/test_*.py") for name in re.findall(r"[\w-]+\.md", file.read_text("utf-8"))
    }

    assert pages - named == set()


def test_the_tutorial_has_the_rows_that_it_says(service: None) -> None:
    run_snippets("tutorial.md")

    assert pq.read_table("summaries/results", columns=["key"]).column("key").to_pylist() == ["r1", "r2"]
    assert pq.read_table("summaries/dead_letter").select(["key", "reason"]).to_pylist() == [
        {"key": "r3", "reason": "INVALID_INPUT"}
    ]


def test_what_the_features_call_proven_names_tests_that_are_there() -> None:
    table = (DOCS / "features.md").read_text(encoding="utf-8")
    rows = [row.rsplit("|", 2)[1] for row in table.splitlines() if row.startswith("| ")][1:]
    tests = [re.findall(r"`((?:integration|unit|e2e|test_)[^`]*)`", row) for row in rows]

    folders: list[str] = []
    for named in tests:
        for name in named:
            folders = [str(Path(name).parent)] if "/" in name else folders
            pattern = name if "/" in name or not name.startswith("test_") else f"{folders[0]}/{name}"
            assert list((DOCS.parent / "tests").glob(pattern)), name
    assert len(rows) > 15
