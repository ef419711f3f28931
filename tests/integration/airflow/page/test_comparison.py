"""The report of a comparison, served by Airflow: to those who may see the run below which it lies."""

from __future__ import annotations

import html
import re
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_gemini_batch.evals import Contains, compare
from tests.integration.airflow.page.auth_manager import STRANGER
from tests.integration.airflow.page.conftest import EVIL, World

TASK = {"task_id": "describe", "map_index": "{MAP_INDEX}"}


@pytest.fixture(scope="module")
def report(world: World) -> Iterator[Path]:
    """Of a comparison of the run of ``ours`` with that of ``mapped``; its texts are hostile."""
    found = compare(
        str(world.folder / "mapped-0"), str(world.folder / "ours"), scorers=Contains(expected="body"), name="night & day"
    )
    yield Path(found.uri) / "report.html"
    shutil.rmtree(world.folder / "ours" / "comparisons")


def test_the_page_of_a_run_leads_to_its_comparisons(world: World, report: Path) -> None:
    page = world.run("run", "ours", **TASK).text
    [address] = re.findall(r'href="comparison\?([^"]*)" target="_blank" rel="noopener">comparison night &amp; day<', page)

    answer = world.get("comparison", **dict(urllib.parse.parse_qsl(html.unescape(address))))

    assert answer.status_code == 200
    assert answer.content == report.read_bytes()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "ours <span" in answer.text
    assert EVIL not in answer.text


def test_a_run_without_comparisons_has_no_link(world: World, report: Path) -> None:
    assert "comparison?" not in world.run("run", "theirs", **TASK).text


def test_its_policy_lets_no_script_run_and_only_its_own_style(world: World, report: Path) -> None:
    answer = world.run("comparison", "ours", **TASK, name="night & day")

    [style] = re.findall(r"style-src ('sha256-[^']{44}')", answer.text)
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[:3] == ["sandbox", "default-src 'none'", f"style-src {style}"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "night", "night & day/../night & day", "../../theirs/comparisons/x", "_claims", "/", "\x00", "x" * 1001],
)
def test_another_name_leads_nowhere(world: World, report: Path, name: str) -> None:
    answer = world.run("comparison", "ours", **TASK, name=name)

    assert answer.status_code in (404, 422)
    assert "better" not in answer.text


def test_who_may_not_see_the_run_may_not_see_its_comparisons(world: World, report: Path) -> None:
    copied = world.folder / "theirs" / "comparisons" / "default"
    shutil.copytree(report.parent, copied)
    try:
        seen = world.run("comparison", "theirs", **TASK, name="default")
        strange = world.run("comparison", "theirs", STRANGER, **TASK, name="default")
        anonymous = world.run("comparison", "theirs", None, **TASK, name="default")
        through_spy = world.run("comparison", "spy", STRANGER, task_id="point", name="default")
    finally:
        shutil.rmtree(copied.parent)

    assert seen.status_code == 200
    assert (strange.status_code, anonymous.status_code, through_spy.status_code) == (403, 401, 404)
    assert not any("report" in answer.text and "Regressions" in answer.text for answer in (strange, anonymous, through_spy))


def test_a_report_that_is_absent_or_too_large_to_be_one_is_not_found(world: World, report: Path) -> None:
    content = report.read_bytes()
    report.write_bytes(b"x" * 500_001)
    large = world.run("comparison", "ours", **TASK, name="night & day")
    report.unlink()
    absent = world.run("comparison", "ours", **TASK, name="night & day")
    report.write_bytes(content)

    assert (large.status_code, absent.status_code) == (404, 404)
    assert "write_report draws it again" in absent.text
