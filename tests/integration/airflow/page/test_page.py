"""What the page shows, and that nothing of a row becomes markup."""

from __future__ import annotations

import html
import html.parser
import re
import urllib.parse
from typing import Any

import pytest

from airflow_gemini_batch import discard
from airflow_gemini_batch.plugin.page import run_view, runs_view
from tests.integration.airflow.page.conftest import World

TASK = {"task_id": "describe", "map_index": "{MAP_INDEX}"}


class Markup(html.parser.HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def everything(world: World) -> dict[str, str]:
    """All the HTML that a reader can get of the run with evil texts."""
    pages = {"run": world.run("run", "ours", **TASK).text, "runs": world.get("runs", label="</script><script>").text}
    pages["filtered"] = world.get("runs", dag_id='"><script>', state="<script>").text
    for name, arguments in {"rows.json": {}, "letters": {"reason": "REQUEST_ERROR"}, "shard.json": {"shard": "00000-0"}}.items():
        route = "rows.json" if name == "letters" else name
        pages[name] = world.run(route, "ours", **TASK, **arguments).json()["html"]
    pages |= {f"live {name}": part["html"] for name, part in world.run("run.json", "ours", **TASK).json()["sections"].items()}
    pages["none"] = world.run("run", "nothing", task_id="<script>alert(1)</script>").text
    return pages


def test_texts_of_rows_labels_and_errors_never_become_markup(world: World) -> None:
    pages = everything(world)

    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in pages["run"]
    assert "alert(1)" in pages["letters"]
    assert "alert(1)" in pages["rows.json"]
    for name, text in pages.items():
        elements = Markup(text).elements
        scripts = [attributes for tag, attributes in elements if tag == "script"]
        assert all(str(each.get("src")).startswith("static/") for each in scripts), name
        assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object", "base", "style")], name
        for _, attributes in elements:
            assert not [each for each in attributes if each.startswith("on") or each == "style"], name
            for link in ("href", "src", "action"):
                assert "javascript:" not in str(attributes.get(link, "")).lower()[:20], name


@pytest.mark.parametrize(
    ("route", "user"),
    [("run", "reader"), ("runs", "reader"), ("run.json", "reader"), ("run", None), ("static/page.js", None), ("nowhere", None)],
)
def test_every_answer_has_a_strict_content_policy(world: World, route: str, user: str | None) -> None:
    answer = world.run(route, "ours", user=user)

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_nothing_is_loaded_from_elsewhere(world: World) -> None:
    for file in ("static/page.css", "static/page.js", "static/theme.js"):
        answer = world.get(file, user=None)

        assert answer.status_code == 200
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}/", answer.text)
    assert "prefers-reduced-motion" in world.get("static/page.css").text


@pytest.mark.parametrize("map_index", ["{MAP_INDEX}", "", "-1", "x"])
def test_a_task_that_is_not_mapped_has_its_page_whatever_the_browser_fills_in(world: World, map_index: str) -> None:
    text = world.run("run", "ours", task_id="describe", map_index=map_index).text

    assert "10 results" in text
    assert "2 dead letters" in text
    assert "REQUEST_ERROR" in text
    assert "${body}" in text


def test_mapped_tasks_have_a_page_each(world: World) -> None:
    pages = [world.run("run", "mapped", task_id="describe", map_index=str(index)).text for index in range(2)]

    assert "mapped-0/results" in pages[0]
    assert "mapped-1/results" in pages[1]


def test_a_dag_run_with_several_runs_has_a_list_and_one_with_one_has_its_page(world: World) -> None:
    several, one, none = (
        world.run("run", name, task_id="{TASK_ID}", map_index="{MAP_INDEX}").text for name in ("mapped", "ours", "nothing")
    )

    assert several.count("<th scope=") == 2
    assert "10 results" in one
    assert "No Gemini Batch run here" in none


def test_a_poll_brings_what_has_changed(world: World) -> None:
    first = world.run("run.json", "ours", **TASK).json()
    have = ",".join(part["digest"] for part in first["sections"].values())

    again = world.run("run.json", "ours", **TASK, have=have).json()

    assert list(first["sections"]) == ["head", "board", "letters", "timeline"]
    assert again == {"live": False, "sections": {}}


def test_first_results_and_samples_of_dead_letters(world: World) -> None:
    results = world.run("rows.json", "ours", **TASK).json()["html"]
    letters = world.run("rows.json", "ours", **TASK, reason="REQUEST_ERROR").json()["html"]

    assert results.count("<tr>") == 11
    assert letters.count("<tr>") == 3
    assert '<div class="clip">k7</div>' in letters


def test_discarded_dead_letters_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_view, "_FRESH", 0.0)
    mapped = {"task_id": "describe", "map_index": "0"}
    assert "discarded" not in world.run("run", "mapped", **mapped).text

    discard(str(world.folder / "mapped-0"), keys=["k7"])

    page = world.run("run", "mapped", **mapped).text
    assert "1 of them is discarded" in page
    assert "dead letters discarded" in page  # in the time line
    assert "discarded" not in world.run("run", "mapped", task_id="describe", map_index="1").text


def test_a_shard_that_is_not_there_is_404(world: World) -> None:
    assert world.run("shard.json", "ours", **TASK, shard="../../etc").status_code == 404


@pytest.mark.parametrize(
    ("filters", "dags"),
    [
        ({}, {"ours", "theirs", "mapped", "spy"}),
        ({"dag_id": "ours"}, {"ours"}),
        ({"label": "team=ads"}, {"theirs"}),
        ({"state": "running"}, set()),
    ],
)
def test_the_list_is_filtered(world: World, filters: dict[str, Any], dags: set[str]) -> None:
    text = world.get("runs", **filters).text

    listed = set(re.findall(r'<th scope="row"><a href="run\?dag_id=(\w+)', text))
    own = listed & {"ours", "theirs", "mapped", "spy"}  # other tests leave runs in the database
    assert own <= dags
    assert bool(own) == bool(dags)


def pages_of(world: World, **filters: str) -> list[list[str]]:
    """The places on each page of the list, by following its links."""
    pages, following = [], filters
    while True:
        text = world.get("runs", **following).text
        pages.append(re.findall(r'<th scope="row"><a href="run\?([^"]+)', text))
        found = re.search(r'rel="next" href="runs\?([^"]+)', text)
        if found is None:
            return pages
        following = dict(urllib.parse.parse_qsl(html.unescape(found[1])))


@pytest.mark.parametrize(("shown", "seconds"), [(1, 3.0), (2, 3.0), (2, 0.0)])
def test_the_pages_of_the_list_have_every_run_once(
    world: World, monkeypatch: pytest.MonkeyPatch, shown: int, seconds: float
) -> None:
    [whole] = pages_of(world)

    monkeypatch.setattr(runs_view, "_SHOWN", shown)
    monkeypatch.setattr(runs_view, "_SECONDS", seconds)
    pages = pages_of(world)

    assert [place for page in pages for place in page] == whole
    assert all(len(page) <= shown for page in pages)


@pytest.mark.parametrize("filters", [{"label": "team=ads"}, {"label": "team=search"}, {"state": "finished"}])
def test_a_filter_looks_at_all_runs_and_not_only_at_the_newest(
    world: World, monkeypatch: pytest.MonkeyPatch, filters: dict[str, str]
) -> None:
    [whole] = pages_of(world, **filters)
    assert whole

    for shown in (1, 2):
        monkeypatch.setattr(runs_view, "_SHOWN", shown)
        pages = pages_of(world, **filters)

        assert pages[0] == whole[:shown]  # on the first page, wherever the runs are
        assert [place for page in pages for place in page] == whole


@pytest.mark.parametrize("after", ["-1", "x", "99999999999"])
def test_a_page_that_cannot_be_is_refused(world: World, after: str) -> None:
    assert world.get("runs", after=after).status_code == 422


def test_a_run_whose_folder_is_damaged_is_explained(world: World) -> None:
    manifest = world.folder / "mapped-1" / "_run" / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(b'{"torn')
    try:
        answer = world.run("run", "mapped", task_id="describe", map_index="1")
    finally:
        manifest.write_bytes(content)

    assert answer.status_code == 502
    assert "CorruptRunError" in answer.text
    assert str(world.folder) not in answer.text


def test_the_task_has_its_link_and_no_empty_one(world: World) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(XComModel).filter(XComModel.dag_id == "ours", XComModel.key.like("\\_link%", escape="\\")).all()
        links = [XComModel.deserialize_value(row) for row in rows]

    assert links
    assert all(link.endswith("/tasks/describe/plugin/gemini-batch-run") for link in links)
