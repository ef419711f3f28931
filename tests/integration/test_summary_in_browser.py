"""The summary page of a real run in Chromium: no request, no complaint, and readable on a screen, at night and on a phone.

With ``SCREENSHOTS`` in the environment, pictures for the documentation are put into the folder that it names.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_gemini_batch import BatchOptions, GenerateRequest, Summary
from airflow_gemini_batch.emulator import Emulator, JobFault, RowFault
from airflow_gemini_batch.engine.advance import advance
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.finish.summary import finish_run
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.report.summary_page import MOST_BYTES, write_summary_page
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.plugin.page.kept_page import read_kept_page
from tests.browser import SCREENS, Look, chromium, serving

WORDS = "a the kettle lamp chair oak steel warm quiet with for of from very small large blue green made by hand in winter".split()  # noqa: SIM905

EVIL = "<script>document.title = 'owned'</script>\u202e\x1b[31m"

ROWS = 400
NAME = "descriptions-2026-11-27"


OPTIONS = BatchOptions(
    max_shard_requests=40, max_active_jobs=4, max_redrives=0, prices={"gemini-3.6-flash": {"input": 0.15, "output": 1.25}}
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of 400 rows in ten jobs of some hours, with dead letters of four reasons."""
    folder = tmp_path_factory.mktemp("summary")
    drawn = random.Random(3)
    notes = [" ".join(drawn.choices(WORDS, k=max(3, int(drawn.lognormvariate(3.4, 0.6))))) for _ in range(ROWS)]
    titles = [None if number % 57 == 0 else f"{drawn.choice(WORDS)} no. {number}".title() for number in range(ROWS)]
    table = pa.table({"sku": [f"sku-{number:04}" for number in range(ROWS)], "title": titles, "notes": notes})
    request = GenerateRequest(
        prompt="Describe this product for our shop: ${title}\n\nNotes of the buyer: ${notes}\n\nAt most eighty words.",
        config={"system_instruction": "You write for a shop of household goods. Be exact and friendly.", "temperature": 0.4},
    )
    run = Run(Location(LocalFileSystem(), str(folder / NAME), f"lake/{NAME}"))
    spec = RunSpec(table, request, "gemini-3.6-flash", key="sku", carry=["title"], labels={"team": "shop", "env": "prod"})
    with Emulator(folder / "service", pending_seconds=300) as service:
        for number in range(10):
            seconds = drawn.lognormvariate(8.4, 0.5)
            service.faults.add(JobFault(running_seconds=seconds, display_name=rf".* shard {number} .*"))
        service.faults.add(
            RowFault(do="error", code=3, message="The request has no text to work on.", keys=some(drawn, 11)),
            RowFault(do="error", code=13, message=f"Internal error encountered. {EVIL}", keys=some(drawn, 5)),
            RowFault(do="safety", keys=some(drawn, 9)),
            RowFault(do="max_tokens", keys=some(drawn, 4)),
        )
        build_run(run, spec, OPTIONS)
        hours = finish(run, service)
    # The service's clock was ahead by that much, and the page is that of a run that began with its jobs.
    begun = dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=hours)
    run.manifest_file.write(msgspec.json.encode(msgspec.structs.replace(run.built(), created_at=begun.isoformat())))
    run.summary_file.delete()
    finish_run(run, draw=write_summary_page)
    return folder / NAME / "summary.html"


def finish(run: Run, service: Emulator) -> float:
    """Take the run to its end; how many hours that took on the service's clock."""
    minutes = 0
    with GeminiClient(Endpoint(api_key="AIzaAnyKey", base_url=service.url)) as client:
        while not isinstance(advance(run, client, OPTIONS, patient=True), Summary):
            service.advance(600)
            service.wait_idle()
            minutes += 10
            assert minutes < 60 * 24
    return minutes / 60


def some(drawn: random.Random, count: int) -> tuple[str, ...]:
    return tuple(f"sku-{number:04}" for number in drawn.sample(range(ROWS), count))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize(("name", "width", "theme"), SCREENS)
def test_it_asks_for_nothing_and_fits_the_screen(browser: Any, file: Path, name: str, width: int, theme: str) -> None:
    look = Look(browser, file.as_uri(), width=width, theme=theme)

    look.require_quiet(file.as_uri())
    look.take_picture(f"summary-{name}")


def test_no_text_of_a_row_runs_and_plots_are_drawn(browser: Any, file: Path) -> None:
    page = Look(browser, file.as_uri()).page

    assert page.title() == "descriptions-2026-11-27 · Gemini Batch"
    assert page.locator("script").count() == 0
    assert page.get_by_text("<script>document.title = 'owned'</script>\\u202e\\x1b[31m").count() >= 2
    assert page.locator("svg.plot").count() == 4
    heights = page.locator("svg.plot rect").evaluate_all("rects => rects.map(rect => rect.getBoundingClientRect().height)")
    assert len(heights) > 40
    assert min(heights) >= 1
    assert page.locator(".rows li").count() == 10


def test_the_keyboard_opens_a_reason_and_a_row(browser: Any, file: Path) -> None:
    look = Look(browser, file.as_uri())
    page = look.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"

    reason = page.locator("details.reason", has_text="REQUEST_ERROR").first
    letter = reason.locator(".letters details").first
    assert not letter.is_visible()
    reason.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert reason.locator(".letters > li").count() == 10
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    assert letter.locator("pre").first.is_visible()
    assert "Describe this product" in letter.locator("pre").first.inner_text()
    look.take_picture("summary-letters")


def test_every_entry_of_the_contents_leads_to_a_part_of_the_page(browser: Any, file: Path) -> None:
    page = Look(browser, file.as_uri()).page

    targets = page.locator("nav.contents a").evaluate_all("links => links.map(link => link.hash)")

    assert len(targets) == 7
    for target in targets:
        assert page.locator(target).count() == 1, target


def test_as_airflow_serves_it_it_looks_the_same(browser: Any, file: Path) -> None:
    served = read_kept_page(locate(str(file)), MOST_BYTES)
    assert served is not None

    with serving(served.content, served.policy) as address:
        look, local = Look(browser, address), Look(browser, file.as_uri())

    assert (look.asked, look.complaints) == ([address], [])
    assert look.page.screenshot() == local.page.screenshot()
    assert look.page.evaluate("self.origin") == "null"
