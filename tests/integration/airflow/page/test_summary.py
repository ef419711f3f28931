"""The summary page of a run, served by Airflow: to those who may see the run, and harmless whatever the file is."""

from __future__ import annotations

import html
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.airflow.page.conftest import World

TASK = {"task_id": "describe", "map_index": "{MAP_INDEX}"}


@pytest.fixture
def file(world: World) -> Iterator[Path]:
    """The file of a run, which is put back as it was."""
    file = world.folder / "ours" / "summary.html"
    content = file.read_bytes()
    yield file
    file.unlink(missing_ok=True)
    file.write_bytes(content)


def test_the_page_of_a_run_leads_to_the_file(world: World, file: Path) -> None:
    [address] = re.findall(r'href="summary\?([^"]*)" target="_blank" rel="noopener"', world.run("run", "ours", **TASK).text)

    answer = world.get("summary", **dict(urllib.parse.parse_qsl(html.unescape(address))))

    assert answer.status_code == 200
    assert answer.content == file.read_bytes()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<dt>DAG</dt><dd>ours</dd>" in answer.text


def test_its_policy_lets_no_script_run_and_only_its_own_style(world: World, file: Path) -> None:
    answer = world.run("summary", "ours", **TASK)

    [style] = re.findall(r"style-src ('sha256-[^']{44}')", answer.text)
    policy = answer.headers["content-security-policy"]
    assert policy.split("; ") == [
        "sandbox", "default-src 'none'", f"style-src {style}", "img-src data:", "form-action 'none'", "base-uri 'none'",
        "frame-ancestors 'self'",
    ]  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "head",
    [
        "style-src 'unsafe-inline'",
        "style-src 'sha256-" + "a" * 43 + "='; script-src *",
        "style-src 'sha256-" + "a" * 42 + ";'",
        "x" * 2000 + "style-src 'sha256-" + "a" * 43 + "='",
    ],
)
def test_a_file_that_somebody_else_has_put_there_loosens_nothing(world: World, file: Path, head: str) -> None:
    file.write_text(f'<!doctype html><meta content="{head}"><script>alert(1)</script>')

    policy = world.run("summary", "ours", **TASK).headers["content-security-policy"]

    assert policy.startswith("sandbox; default-src 'none'; style-src '")
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert "*" not in policy


def test_what_is_too_large_to_be_one_or_absent_is_not_found(world: World, file: Path) -> None:
    file.write_bytes(b"x" * 300_001)
    large = world.run("summary", "ours", **TASK)
    file.unlink()
    absent = world.run("summary", "ours", **TASK)

    assert (large.status_code, absent.status_code) == (404, 404)
    assert "gemini-batch report draws it again" in absent.text
    assert "default-src 'none'; script-src 'self'" in absent.headers["content-security-policy"]
