"""Airflow's UI in Chromium: the page of a run by clicking only, live while its jobs advance, and the connection form.

With ``SCREENSHOTS`` in the environment, the pictures of the documentation are made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from airflow_gemini_batch.emulator import RowFault
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from tests.browser import chromium
from tests.e2e.harness import KEY, Scenario, Stack

#: Run alone, this module has to start Airflow.
pytestmark = pytest.mark.timeout(600)

#: Of no other scenario.
MODEL = "gemini-3.8-flash"

#: Milliseconds until something must be seen.
SOON = 60_000.0

#: What Airflow's own UI logs, whatever a plugin does.
AIRFLOWS_OWN = ("hitl-review", "Failed to load resource", "allow-same-origin for its sandbox")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


class Reader:
    """Somebody in front of Airflow's UI.

    :param complaints: what the browser's console says of the pages.
    """

    def __init__(self, browser: Any, stack: Stack, *, width: int = 1280, theme: str = "light") -> None:
        self.url = stack.airflow.url
        self.complaints: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=theme, reduced_motion="reduce")
        context.set_default_timeout(SOON)
        self.page = context.new_page()
        self.page.on("console", lambda message: self._hear(message.text))
        self.page.on("pageerror", lambda error: self._hear(str(error)))

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    @property
    def frame(self) -> Any:
        """The page of the plugin inside Airflow's."""
        return self.page.frame_locator("iframe")

    def see(self, selector: str, text: str = "") -> Any:
        """Wait until the plugin's page shows it."""
        found = self.frame.locator(selector, has_text=text) if text else self.frame.locator(selector)
        found.first.wait_for()
        return found.first

    def take_picture(self, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png")

    def _hear(self, text: str) -> None:
        if not any(each in text for each in AIRFLOWS_OWN):
            self.complaints.append(text)


def task_path(scenario: Scenario, task_id: str = "describe") -> str:
    return f"/dags/{scenario.dag_id}/runs/{quote(scenario.run_id, safe='')}/tasks/{task_id}"


@pytest.fixture(scope="module")
def watched(stack: Stack, browser: Any) -> Iterator[tuple[Scenario, Reader]]:
    """A run of five rows, one of which fails, seen from its first job to its end by a reader who never reloads."""
    faults = stack.emulator.faults.add(RowFault(do="error", keys=("k3",), code=3, message="the row is <b>bad</b>"))
    scenario = stack.start("small_table", model=MODEL)
    scenario.wait_until_watched("describe")
    reader = Reader(browser, stack)
    reader.open(task_path(scenario))
    reader.page.get_by_role("link", name="Gemini Batch", exact=True).click()
    yield scenario, reader
    stack.emulator.faults.remove(faults[0])  # other modules use the same emulator


def test_a_run_is_followed_to_its_end_without_a_reload(stack: Stack, watched: tuple[Scenario, Reader]) -> None:
    scenario, reader = watched
    reader.see(".badge.s-running")
    assert reader.see("section[aria-labelledby=board-title] .c").get_attribute("aria-label").startswith("Shard 0")
    reader.see("table.flight th[scope=row]")
    reader.see("pre mark", "${body}")
    reader.frame.locator("body").evaluate("body => { body.dataset.mark = 'kept'; }")

    stack.end_jobs()
    assert scenario.wait_until_ended() == "success"

    reader.see(".badge.s-finished")
    assert reader.frame.locator("body").get_attribute("data-mark") == "kept"
    reader.see("#results td", "k1")
    reader.see("dl.tiles div", "Cost")
    assert reader.complaints == []


def test_dead_letters_are_found_by_clicking_only(stack: Stack, watched: tuple[Scenario, Reader]) -> None:
    _, reader = watched
    reader.see(".badge.s-finished")

    reader.see("details.reason summary", "REQUEST_ERROR").click()

    reader.see("details.reason[open] td", "the row is <b>bad</b>")
    reader.take_picture("page-in-airflow-light")
    assert reader.frame.locator("details.reason td b").count() == 0


def test_the_keyboard_opens_and_closes_a_shard(watched: tuple[Scenario, Reader]) -> None:
    _, reader = watched

    reader.see(".c").focus()
    reader.page.keyboard.press("Enter")
    reader.see("#shard:not([hidden])")
    reader.page.keyboard.press("Escape")

    reader.frame.locator("#shard").wait_for(state="hidden")


def test_the_button_of_the_task_leads_to_the_page(stack: Stack, watched: tuple[Scenario, Reader], browser: Any) -> None:
    scenario, _ = watched
    reader = Reader(browser, stack)

    reader.open(f"{task_path(scenario)}/details")
    button = reader.page.get_by_role("link", name="Gemini Batch run")
    button.wait_for()
    address = str(button.get_attribute("href"))
    reader.open(address)

    reader.see(".badge.s-finished")
    assert links_in_xcom(scenario) == {"_link_gemini_batch_run": address}


def links_in_xcom(scenario: Scenario, task_id: str = "describe") -> dict[str, Any]:
    entries = f"/taskInstances/{task_id}/xcomEntries"
    keys = [entry["key"] for entry in scenario.call("GET", entries)["xcom_entries"]]
    return {key: scenario.call("GET", f"{entries}/{key}")["value"] for key in keys if key.startswith("_link_")}


def test_the_dag_run_has_the_page_too(stack: Stack, watched: tuple[Scenario, Reader], browser: Any) -> None:
    scenario, _ = watched
    reader = Reader(browser, stack)

    reader.open(f"/dags/{scenario.dag_id}/runs/{quote(scenario.run_id, safe='')}")
    reader.page.get_by_role("link", name="Gemini Batch", exact=True).click()

    reader.see(".badge.s-finished")


def test_all_runs_are_in_the_navigation_and_lead_to_the_run(stack: Stack, watched: tuple[Scenario, Reader], browser: Any) -> None:
    scenario, _ = watched
    reader = Reader(browser, stack)

    reader.open("/")
    reader.page.get_by_text("Browse", exact=True).click()
    reader.page.get_by_role("menuitem", name="Gemini Batch").click()
    reader.see("table.runs th", scenario.run_id)
    reader.take_picture("runs-in-airflow")
    reader.frame.locator("table.runs tr", has_text=scenario.run_id).locator("th a").first.click()

    reader.see(".head .where", scenario.run_id)
    assert reader.complaints == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_page_fits_and_has_the_theme_of_airflow(
    theme: str, stack: Stack, watched: tuple[Scenario, Reader], browser: Any
) -> None:
    scenario, _ = watched
    reader = Reader(browser, stack, theme=theme)

    reader.open(f"{task_path(scenario)}/plugin/gemini-batch-run")
    reader.see("#results td", "k1")
    if theme == "dark":
        reader.take_picture("page-in-airflow-dark")

    body = reader.frame.locator("body")
    assert body.evaluate("body => body.scrollWidth <= body.clientWidth")
    assert body.evaluate("body => getComputedStyle(document.documentElement).colorScheme") == theme
    # No tile is cut.
    tiles = "[...document.querySelectorAll('.tiles dd')].filter(tile => tile.scrollWidth > tile.clientWidth + 1).length"
    assert body.evaluate(f"() => {tiles}") == 0


def test_an_address_without_a_dag_shows_nothing(stack: Stack, watched: tuple[Scenario, Reader], browser: Any) -> None:
    scenario, _ = watched
    reader = Reader(browser, stack)

    reader.open(f"/gemini-batch/page/run?dag_id=~&run_id={quote(scenario.run_id, safe='')}&task_id=describe&map_index=-1")

    assert scenario.destination.name not in reader.page.content()
    assert "REQUEST_ERROR" not in reader.page.content()


def test_a_connection_is_made_in_the_form_and_tested(stack: Stack, browser: Any) -> None:
    reader = Reader(browser, stack, width=1180)
    page = reader.page
    reader.open("/connections")
    page.get_by_role("button", name="Add Connection").first.click()
    page.locator("input[name=connection_id]").fill("gemini_ui")
    page.get_by_role("combobox").click()
    page.keyboard.type("gemini")
    page.keyboard.press("Enter")
    page.locator("input[name=host]").fill(stack.emulator.url)
    page.locator("input[name=password]").fill(KEY)
    reader.take_picture("connection-form")
    assert page.locator("input[name=password]").get_attribute("type") == "password"
    assert page.locator("input[name=login], input[name=port], input[name=schema]").count() == 0
    page.get_by_role("button", name="Extra Fields", exact=True).click()
    page.locator("input[name=element_limits_folder]").fill("s3://lake/limits")
    page.locator("input[name=element_max_active_jobs]").fill("4")

    # Airflow 3.3's button sends port 0 for a connection without a port, and its API server then refuses the stored key.
    page.route("**/connections/test", lambda route: route.continue_(post_data=route.request.post_data.replace(":0,", ":null,")))
    page.get_by_role("button", name="Save").click()
    row = page.locator("tr", has_text="gemini_ui")
    row.wait_for()
    with page.expect_response(lambda answer: answer.url.endswith("/connections/test")) as answered:
        row.get_by_role("button", name="Test").click()

    assert answered.value.json() == {"status": True, "message": "Connected. The key can list batch jobs."}
    saved = json.loads(stack.airflow.rest.call("GET", "/connections/gemini_ui")["extra"])
    assert ProjectLimits.of_extra(saved) == ProjectLimits("s3://lake/limits", max_active_jobs=4)
    assert KEY not in page.content()
