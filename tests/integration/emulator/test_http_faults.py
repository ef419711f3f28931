"""HTTP faults, as the SDK sees them."""

from __future__ import annotations

import time

import httpx
import pytest
from google.genai import errors

from airflow_gemini_batch.emulator import HttpFault, ListingFault

CREATE = ":batchGenerateContent$"


def names(client) -> list[str]:
    return [job.display_name for job in client.batches.list()]


def dropped():
    """Which exception the SDK raises when a connection breaks depends on the installed HTTP library."""
    return pytest.raises(Exception, match=r"(?i)disconnect|reset|closed|peer|Errno|receive")


def test_a_status_before_the_work_leaves_nothing_behind(emulator, client, steps):
    emulator.faults.add(HttpFault(do="status", status=503, path=CREATE, nth=1))

    with pytest.raises(errors.ServerError, match="503"):
        steps.submit()

    assert names(client) == []
    assert steps.submit(display_name="second").display_name == "second"


def test_a_status_after_the_work_leaves_a_job_unknown_to_the_caller(emulator, client, steps):
    emulator.faults.add(HttpFault(do="status", status=503, path=CREATE, when="after", nth=1))

    with pytest.raises(errors.ServerError, match="503"):
        steps.submit(display_name="orphan")

    assert names(client) == ["orphan"]
    [entry] = emulator.journal("create")
    assert (entry["display_name"], entry["answered"]) == ("orphan", "503")


@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", ["lost"])])
def test_a_dropped_connection_comes_before_or_after_the_work(emulator, client, steps, when, left):
    emulator.faults.add(HttpFault(do="drop", path=CREATE, when=when, nth=1))

    with dropped():
        steps.submit(display_name="lost")

    assert names(client) == left
    assert [entry["answered"] for entry in emulator.journal("create")] == ["dropped"] * len(left)


def test_429_comes_with_and_without_retry_info(emulator, http):
    emulator.faults.add(
        HttpFault(do="status", status=429, path=CREATE, nth=1),
        HttpFault(do="status", status=429, path=CREATE, retry_info_seconds=28, headers={"Retry-After": "28"}, count=1),
    )

    bare, hinted = (http.post("/v1/models/gemini-2.5-flash:batchGenerateContent", json={}) for _ in range(2))

    assert "RetryInfo" not in bare.text
    assert hinted.json()["error"]["details"][-1]["retryDelay"] == "28s"
    assert hinted.headers["retry-after"] == "28"


def test_a_body_may_be_html(emulator, client):
    emulator.faults.add(HttpFault(do="status", status=502, method="GET", path="/batches", body="<html>Bad Gateway</html>"))

    with pytest.raises(errors.ServerError, match="Bad Gateway"):
        list(client.batches.list())


def test_a_fault_ends_after_its_count(emulator, http):
    emulator.faults.add(HttpFault(do="status", status=500, path="/batches", nth=2, count=2))

    assert [http.get("/v1/batches").status_code for _ in range(5)] == [200, 500, 500, 200, 200]


def test_chance_is_the_same_for_the_same_seed(emulator, http):
    def statuses() -> list[int]:
        emulator.faults.clear()
        emulator.faults.add(HttpFault(do="status", status=500, path="/batches", probability=0.5, seed=7))
        return [http.get("/v1/batches").status_code for _ in range(40)]

    first = statuses()

    assert {200, 500} == set(first)
    assert 8 < first.count(500) < 32


@pytest.mark.parametrize("when", ["before", "after"])
def test_answers_can_be_slow(emulator, http, when):
    emulator.faults.add(HttpFault(do="delay", seconds=0.3, path="/batches", when=when, nth=1))

    began = time.monotonic()
    answer = http.get("/v1/batches")

    assert answer.status_code == 200
    assert time.monotonic() - began >= 0.3


def test_a_slow_answer_after_the_work_looks_like_a_timeout(emulator, client, steps):
    emulator.faults.add(HttpFault(do="delay", seconds=2, path=CREATE, when="after", nth=1))
    file = steps.upload([steps.line("a")])
    source = {"model": "gemini-2.5-flash", "src": file.name}

    with pytest.raises(Exception, match=r"(?i)time"):
        client.batches.create(**source, config={"display_name": "late", "http_options": {"timeout": 200}})

    assert names(client) == ["late"]


def test_a_download_can_be_shorter_than_announced(emulator, client, steps, tmp_path):
    job = steps.submit(100)
    emulator.advance(1000)
    whole = len(steps.answers(job))
    emulator.faults.add(HttpFault(do="truncate", bytes=1000, path=":download", nth=1))

    with dropped():
        steps.answers(job)

    assert len(steps.answers(job)) == whole
    [cut] = [call for call in emulator.calls() if call["answered"] == "cut"]
    assert cut["route"].endswith("/files/*:download")
    assert cut["count"] == 1


def test_a_listing_can_lag_behind_creates(emulator, client, steps):
    emulator.faults.add(ListingFault(lag_seconds=5))
    job = steps.submit(display_name="fresh")

    assert names(client) == []
    assert client.batches.get(name=job.name).name == job.name
    emulator.advance(6)
    assert names(client) == ["fresh"]


def test_pages_can_be_small_and_a_job_can_be_listed_last(emulator, client, steps):
    emulator.faults.add(ListingFault(page_size=2, bury="^orphan"))
    for name in ("a", "b", "orphan", "c", "d"):
        steps.submit(1, name)

    first = client.batches.list(config={"page_size": 100})

    assert len(first.page) == 2
    assert names(client) == ["d", "c", "b", "a", "orphan"]


def test_a_middle_page_can_be_empty(emulator, http, steps):
    emulator.faults.add(ListingFault(page_size=2, empty_pages=(2,)))
    for number in range(3):
        steps.submit(1, str(number))

    first = http.get("/v1/batches").json()
    second = http.get("/v1/batches", params={"pageToken": first["nextPageToken"]}).json()
    third = http.get("/v1/batches", params={"pageToken": second["nextPageToken"]}).json()

    assert "operations" not in second
    assert [len(first["operations"]), len(third["operations"])] == [2, 1]


def test_rules_are_validated_and_can_be_listed_and_removed(emulator):
    kept, gone = emulator.faults.add(HttpFault(do="drop", path="x"), HttpFault(do="drop", path="y"))
    emulator.faults.remove(gone)

    assert [(rule["id"], rule["fired"]) for rule in emulator.faults.list()] == [(kept, 0)]
    with pytest.raises(ValueError, match="not an RE2 regular expression"):
        emulator.faults.add(HttpFault(do="drop", path="("))
    unknown = httpx.post(f"{emulator.url}/emulator/faults", json={"on": "http", "do": "explode"}, trust_env=False)
    assert unknown.status_code == 400
    assert "explode" in unknown.text
