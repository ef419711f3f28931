"""The documentation as a site: no broken link, every public name, and no request to another host."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import airflow_gemini_batch
from airflow_gemini_batch import evals
from tests.browser import chromium

pytest.importorskip("mkdocs", reason="needs the extra docs")

ROOT = Path(__file__).parents[2]


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


def test_every_public_name_is_in_the_reference_once(site: Path) -> None:
    page = (site / "reference.html").read_text(encoding="utf-8")
    documented = re.findall(r'<h3 id="[\w.]*\.(\w+)" class="doc', page)

    assert sorted(documented) == sorted([*airflow_gemini_batch.__all__, *evals.__all__])


def test_files_of_the_repository_that_are_linked_are_pages(site: Path) -> None:
    assert "GeminiBatchOperator" in (site / "repository/dags/describe_stdlib_after_approval.py.html").read_text("utf-8")
    assert 'href="tutorial.html"' in (site / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    "link",
    ["(no-such-page.md)", "(costs.md#no-such-heading)", "(../no/such/file.py)", "(https:/example.com)", "(/absolute.md)"],
)
def test_a_broken_link_is_an_error(link: str, tmp_path: Path) -> None:
    for name in ("docs", "dags", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "airflow_gemini_batch").symlink_to(ROOT / "airflow_gemini_batch")
    with (tmp_path / "docs" / "logs.md").open("a", encoding="utf-8") as page:
        page.write(f"\n[broken]{link}\n")

    built = build(tmp_path, tmp_path / "site")

    assert built.returncode != 0
    assert "logs.md" in built.stderr + built.stdout


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_no_page_asks_another_host_or_is_wider_than_a_phone(address: str, site: Path) -> None:
    asked: list[str] = []
    wide: list[str] = []

    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "tutorial", "how-to", "cap-the-cost", "reference", "options", "features", "page", "summary"):
            page.goto(f"{address}{name}.html", wait_until="networkidle")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(name)

    assert len(asked) > 8
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert wide == []
