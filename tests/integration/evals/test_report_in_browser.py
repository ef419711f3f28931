"""The page of a comparison in Chromium: no request, no complaint, and readable on a screen, at night and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_gemini_batch.evals.comparison import Answer, Example
from airflow_gemini_batch.evals.report.comparison_page import write_report
from tests.browser import SCREENS, Look, chromium
from tests.comparisons import comparison, several

EVIL = "<script>document.title = 'owned'</script>\u202e\x1b[31m"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One candidate; the answers of the worst regression are hostile."""
    path = tmp_path_factory.mktemp("comparison") / "report.html"
    made = comparison()
    evil = Example("evil", "accuracy", "regressed", -1.0, Answer(1.0, EVIL), Answer(0.0, f"{EVIL} too"), carried={EVIL: EVIL})
    write_report(msgspec.structs.replace(made, examples=(*made.examples, evil)), path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize(("name", "width", "theme"), SCREENS)
def test_it_asks_for_nothing_and_fits_the_screen(browser: Any, file: Path, name: str, width: int, theme: str) -> None:
    look = Look(browser, file.as_uri(), width=width, theme=theme)

    look.require_quiet(file.as_uri())
    look.take_picture(f"comparison-{name}")


@pytest.mark.parametrize(("width", "height"), [(1180, 1000), (390, 844)])
def test_the_first_screen_has_the_answer(browser: Any, file: Path, width: int, height: int) -> None:
    page = Look(browser, file.as_uri(), width=width).page

    for said in ("better", "gate passed", "accuracy: 2.1 points better", "95 % interval", "$5.87, was $4.12"):
        box = page.get_by_text(said).first.bounding_box()
        assert box["y"] + box["height"] < height, said


def test_no_text_of_a_row_runs_and_marks_are_seen(browser: Any, file: Path) -> None:
    page = Look(browser, file.as_uri()).page

    assert page.title() == "with-examples against short-prompt · Gemini Batch"
    assert page.locator("script").count() == 0
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.get_by_text("<script>document.title = 'owned'</script>\\u202e\\x1b[31m").count() >= 3
    marks = page.locator("del, ins").evaluate_all("all => all.map(each => getComputedStyle(each).backgroundColor)")
    assert len(marks) > 100
    assert len(set(marks)) == 2
    assert "rgba(0, 0, 0, 0)" not in marks


def test_lines_of_the_plot_are_drawn_where_their_figures_are(browser: Any, file: Path) -> None:
    page = Look(browser, file.as_uri()).page

    lines = page.locator(".forest > div:not(.axis)")
    assert lines.evaluate_all("all => all.map(each => each.className)") == ["improved", "regressed", "open"]
    for index, (at, zero) in enumerate(
        zip(
            page.locator(".forest circle").evaluate_all("all => all.map(each => each.getBoundingClientRect().x)"),
            page.locator(".forest .zero").evaluate_all("all => all.map(each => each.getBoundingClientRect().x)"),
            strict=True,
        )
    ):
        assert (at > zero) == (index != 1)
    assert page.locator(".forest .margin").count() == 1


def test_the_keyboard_opens_an_example(browser: Any, file: Path) -> None:
    look = Look(browser, file.as_uri())
    page = look.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"

    closed = page.locator("details.example:not([open])").first
    assert not closed.locator("pre").first.is_visible()
    closed.locator("summary").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("Enter")

    assert outline == "solid"
    assert page.locator("details.example").evaluate_all("all => all.slice(0, 3).every(each => each.open)")
    page.locator("#regressed").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#regressed').parentElement.scrollIntoView()")
    look.take_picture("comparison-examples")


def test_every_link_leads_to_a_part_of_the_page(browser: Any, file: Path) -> None:
    page = Look(browser, file.as_uri()).page

    targets = page.locator("nav.contents a").evaluate_all("links => links.map(link => link.hash)")

    assert len(targets) == 11
    for target in targets:
        assert page.locator(target).count() == 1, target


def test_several_candidates_fit_a_phone_too(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(several(4), path)

    look = Look(browser, path.as_uri(), width=390)

    assert look.complaints == []
    assert look.page.evaluate("document.documentElement.scrollWidth") == 390
    look.page.get_by_role("link", name="variant-2").click()
    assert look.page.evaluate("document.querySelector('#c4-top').getBoundingClientRect().y") < 60
    wide = Look(browser, path.as_uri())
    wide.take_picture("comparison-candidates")
