"""The run on an object store: S3's protocol over HTTP, through the same fsspec file system that users have."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from airflow_gemini_batch.emulator import Emulator, HttpFault, RowFault
from airflow_gemini_batch.engine.errors import DestinationError, RefusedError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.slots.state import State
from airflow_gemini_batch.engine.slots.versions import Versioned
from airflow_gemini_batch.webhooks.events import JobEnded
from airflow_gemini_batch.webhooks.notifications import KEEP, NotificationFolder
from tests.integration.engine.conftest import creates, table

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Storage options for a store of its own."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    region = {"region_name": "us-east-1"}
    options = {"endpoint_url": f"http://{host}:{port}", "key": "any", "secret": "any", "client_kwargs": region}
    s3fs.S3FileSystem(**options).call_s3("create_bucket", Bucket="lake")
    yield options
    server.stop()


def elsewhere(uri: str, options: dict[str, Any]) -> Location:
    """The place as another worker sees it: a file system object of its own, with caches of its own."""
    return locate(uri, skip_instance_cache=True, **options)


def test_only_the_first_of_two_creates_wins(s3: dict[str, Any]) -> None:
    claim = "s3://lake/claims/one.json"

    assert [elsewhere(claim, s3).create(b"mine"), elsewhere(claim, s3).create(b"yours")] == [True, False]
    assert elsewhere(claim, s3).read() == b"mine"


def test_what_another_worker_has_written_is_seen_at_once(s3: dict[str, Any]) -> None:
    here, there = elsewhere("s3://lake/seen", s3), elsewhere("s3://lake/seen", s3)
    (here / "first").write(b"1")
    assert [file.name for file in here.children()] == ["first"]

    (there / "second").write(b"22")

    assert (here / "second").exists()
    assert (here / "second").read() == b"22"
    assert (here / "second").size() == 2
    assert [file.name for file in here.children()] == ["first", "second"]


def test_no_listing_is_kept_that_another_thread_would_believe(s3: dict[str, Any]) -> None:
    here = elsewhere("s3://lake/listed", s3)
    (here / "first").write(b"1")
    assert (here / "first").exists()

    here.fs.ls(here.path)

    assert dict(here.fs.dircache) == {}


def test_a_knock_that_one_process_leaves_is_heard_by_another_until_it_is_swept_away(s3: dict[str, Any]) -> None:
    here, there = (NotificationFolder(elsewhere("s3://lake/knocks", s3)) for _ in range(2))
    ended = JobEnded("batches/abc", "succeeded")
    assert there.found() == set()

    for _ in range(2):
        here.leave(ended)
    there.mark("watcher", ended)

    assert there.found() == here.fired("watcher") == {ended}
    assert [knocks.since("watcher", now=now) for knocks, now in ((here, 1.0), (there, 2.0))] == [1.0, 1.0]
    now = dt.datetime.now(dt.timezone.utc)
    assert [here.sweep(now=now), here.sweep(now=now + KEEP + dt.timedelta(hours=1))] == [0, 2]
    assert there.found() == there.fired("watcher") == set()


def test_a_write_that_fails_leaves_nothing(s3: dict[str, Any]) -> None:
    file = elsewhere("s3://lake/torn/part", s3)

    def interrupted() -> None:
        with file.writing() as out:
            out.write(b"x" * 6_000_000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert not file.exists()


def test_a_store_that_refuses_is_not_an_empty_one(s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # each takes seconds

    with pytest.raises(Exception, match=r".") as caught:
        elsewhere("s3://no-such-bucket/x", {**s3, "endpoint_url": "http://127.0.0.1:9"}).exists()

    assert not isinstance(caught.value, FileNotFoundError)


def test_a_bucket_that_does_not_exist_is_found_before_the_source_is_read(go: Callable[..., Summary], s3: dict[str, Any]) -> None:
    with pytest.raises(DestinationError, match=r"Cannot write s3://no-such-bucket/run.*bucket does not exist.*create it"):
        go(source="s3://lake/nothing.parquet", destination="s3://no-such-bucket/run", storage_options=s3)


def test_a_table_in_the_store_becomes_two_tables_in_the_store(
    go: Callable[..., Summary], s3: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    with elsewhere("s3://lake/in/a.parquet", s3).writing() as file:
        pq.write_table(table(12), file)
    arguments = {
        "source": "s3://lake/in/*.parquet",
        "destination": "s3://lake/run",
        "storage_options": s3,
        "max_redrives": 1,
    }
    emulator.faults.add(RowFault(do="error", code=14, keys=("k1",), display_name="attempt 0"))
    rule = emulator.faults.add(HttpFault(do="status", status=400, path=":batchGenerateContent", nth=2, count=100))[0]
    with pytest.raises(RefusedError):
        go(**arguments)
    emulator.faults.remove(rule)

    summary = go(**arguments)

    assert (summary.results, summary.dead_letter, summary.balanced) == (12, 0, True)
    assert len(creates(emulator)) == 4
    assert b"<b>12</b> results" in elsewhere("s3://lake/run/summary.html", s3).read()
    filesystem = elsewhere("s3://lake/run", s3).arrow_fs
    assert ds.dataset("lake/run/results", filesystem=filesystem).to_table().num_rows == 12


def test_no_change_of_a_shared_record_is_lost_between_workers(s3: dict[str, Any]) -> None:
    """The limits that runs share are such a record."""

    def work(_: int) -> list[int]:
        record = Versioned(elsewhere("s3://lake/limits", s3), State())
        return [record.change(_one_more) for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        seen = [number for numbers in pool.map(work, range(4)) for number in numbers]

    assert sorted(seen) == list(range(1, 41))
    assert Versioned(elsewhere("s3://lake/limits", s3), State()).read().looked_at == 40


def _one_more(state: State) -> tuple[State, int]:
    more = state.looked_at + 1
    return msgspec.structs.replace(state, looked_at=more), int(more)
