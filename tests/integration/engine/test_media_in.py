"""Media go to the service once for each distinct content, before the job that needs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_gemini_batch.emulator import Emulator, FileFault, HttpFault, RowFault
from airflow_gemini_batch.engine.build.building import build_run
from airflow_gemini_batch.engine.build.call import RunSpec
from airflow_gemini_batch.engine.errors import CorruptRunError, InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt, read_json
from airflow_gemini_batch.engine.run.media_manifest import MediaFile, media_of, read_media
from airflow_gemini_batch.engine.run.storage import locate
from airflow_gemini_batch.engine.specs import GenerateRequest, Media
from airflow_gemini_batch.engine.submit.media_upload import send_media
from tests.integration.engine.conftest import MODEL, creates, read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
HOUR = 3600.0
ASK = GenerateRequest(prompt="Repeat: ${body}", media=[Media("photo", upload=["/"])])


@pytest.fixture
def photos(tmp_path: Path) -> pa.Table:
    """Six rows with three distinct pictures under four names."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, content in {"a.png": b"a", "b.png": b"b", "c.png": b"c", "a again.png": b"a"}.items():
        (folder / name).write_bytes(content * 1000)
    names = ["a.png", "b.png", "a again.png", "c.png", "b.png", "a.png"]
    numbers = range(len(names))
    return pa.table(
        {
            "id": [f"k{number}" for number in numbers],
            "body": [f"number {number}" for number in numbers],
            "photo": [str(folder / name) for name in names],
        }
    )


@pytest.fixture
def run(tmp_path: Path, photos: pa.Table) -> Run:
    """Built, and nothing sent."""
    run = Run(locate(str(tmp_path / "run")))
    build_run(run, RunSpec(photos, ASK, MODEL, "id", ()), BatchOptions(max_shard_requests=4))
    return run


def media_uploads(emulator: Emulator) -> list[str]:
    return [entry["file"] for entry in emulator.journal("upload") if entry["file"].startswith("files/gbm-")]


def test_each_distinct_content_is_uploaded_once_over_all_shards(
    go: Go, emulator: Emulator, photos: pa.Table, tmp_path: Path
) -> None:
    summary = go(source=photos, request=ASK, max_shard_requests=4)

    assert (summary.results, summary.dead_letter, summary.balanced) == (6, 0, True)
    uploads = media_uploads(emulator)
    assert len(uploads) == len(set(uploads)) == 3
    assert next(row["text"] for row in read(tmp_path, "results")).endswith("number 0")


def test_a_job_waits_until_the_service_has_looked_through_its_media(
    go: Go, emulator: Emulator, photos: pa.Table, tmp_path: Path
) -> None:
    emulator.faults.add(FileFault(display_name="b.png", seconds=1))

    assert go(source=photos, request=ASK).results == 6


def test_media_that_the_service_cannot_process_cost_their_own_rows(
    go: Go, emulator: Emulator, photos: pa.Table, tmp_path: Path
) -> None:
    emulator.faults.add(FileFault(do="fail", display_name="b.png", seconds=1))

    summary = go(source=photos, request=ASK)

    assert (summary.results, summary.dead_letter) == (4, 2)
    assert [row["key"] for row in read(tmp_path, "dead_letter")] == ["k1", "k4"]
    assert all("not in an ACTIVE state" in row["message"] for row in read(tmp_path, "dead_letter"))


def test_bytes_and_uris_need_no_upload(go: Go, emulator: Emulator, client: GeminiClient) -> None:
    table = pa.table({"id": ["k0"], "picture": [b"\x89PNG"], "page": ["https://example.com/a.pdf"]})
    request = GenerateRequest(prompt="Compare.", media=[Media("picture", mime_type="image/png"), "page"])

    summary = go(source=table, request=request, carry=[])

    assert summary.results == 1
    assert media_uploads(emulator) == []


def test_a_file_that_only_the_service_has_is_named_as_it_is(go: Go, client: GeminiClient, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    with (tmp_path / "a.png").open("rb") as file:
        name = client.upload(file, name=None, display_name="mine", mime_type="image/png").name
    table = pa.table({"id": ["k0", "k1"], "photo": [name, "files/nobody-has-it"]})
    request = GenerateRequest(prompt="What is it?", media=[Media("photo", mime_type="image/png")])

    go(source=table, request=request, carry=[])

    assert [row["key"] for row in read(tmp_path, "results")] == ["k0"]
    [letter] = read(tmp_path, "dead_letter")
    assert "nobody-has-it" in letter["message"]


def test_a_row_without_its_file_is_a_dead_letter_and_the_others_go(go: Go, photos: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "photos" / "c.png").unlink()

    summary = go(source=photos, request=ASK)

    assert (summary.results, summary.dead_letter) == (5, 1)
    [letter] = read(tmp_path, "dead_letter")
    assert (letter["key"], letter["reason"]) == ("k3", "INVALID_INPUT")
    assert "No such file" in letter["message"]


def test_the_same_rows_make_the_same_requests_in_every_run(photos: pa.Table, tmp_path: Path) -> None:
    built = [
        build_run(Run(locate(str(tmp_path / name))), RunSpec(photos, ASK, MODEL, "id", ()), BatchOptions()).shards
        for name in ("one", "other")
    ]

    assert built[0] == built[1]


def test_the_list_of_a_shard_names_what_its_requests_need(run: Run) -> None:
    first, second = run.built().shards

    assert [Path(file.source).name for file in read_media(run, first)] == ["a.png", "b.png", "c.png"]
    assert [Path(file.source).name for file in read_media(run, second)] == ["b.png", "a.png"]
    assert [Path(file.source).name for file in media_of(run)] == ["a.png", "b.png", "c.png"]


def test_what_is_there_is_not_uploaded_again(run: Run, client: GeminiClient, emulator: Emulator) -> None:
    for shard in (*run.built().shards, *run.built().shards):
        send_media(run, shard, client, run.built().request)

    assert len(media_uploads(emulator)) == 3


@pytest.mark.parametrize(("hours", "uploads"), [(23, 3), (25, 6)])
def test_what_expires_within_the_window_of_a_job_is_uploaded_again(
    run: Run, client: GeminiClient, emulator: Emulator, hours: int, uploads: int
) -> None:
    [shard, _] = run.built().shards
    send_media(run, shard, client, run.built().request)

    send_media(run, shard, client, run.built().request, now=lambda: time.time() + hours * HOUR)

    assert len(media_uploads(emulator)) == uploads


def test_something_else_under_the_name_is_replaced(run: Run, client: GeminiClient, emulator: Emulator, tmp_path: Path) -> None:
    [shard, _] = run.built().shards
    wanted = read_media(run, shard)[0]
    (tmp_path / "other").write_bytes(b"something else")
    with (tmp_path / "other").open("rb") as file:
        client.upload(file, name=wanted.name, display_name="other", mime_type="image/png")

    send_media(run, shard, client, run.built().request)

    there = client.get_file(wanted.name)
    assert there is not None
    assert there.sha256 == wanted.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"longer" * 1000, "it has 6,000 bytes now"), (b"x" * 1000, "received 1000 bytes"), (None, "cannot be read")],
)
def test_a_file_that_changed_since_the_build_stops_the_submission(
    run: Run, client: GeminiClient, emulator: Emulator, tmp_path: Path, content: bytes | None, message: str
) -> None:
    photo = tmp_path / "photos" / "a.png"
    photo.unlink() if content is None else photo.write_bytes(content)
    [shard, _] = run.built().shards

    with pytest.raises(InputError, match=message):
        send_media(run, shard, client, run.built().request)

    assert client.get_file(read_media(run, shard)[0].name) is None
    assert creates(emulator) == []


def test_a_changed_file_is_told_of_although_what_was_sent_of_it_cannot_be_deleted(
    run: Run, client: GeminiClient, emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "a.png").write_bytes(b"x" * 1000)
    emulator.faults.add(HttpFault(do="status", status=400, method="DELETE"))
    [shard, _] = run.built().shards

    with pytest.raises(InputError, match="received 1000 bytes"):
        send_media(run, shard, client, run.built().request)


def test_a_list_that_was_shortened_is_not_believed(run: Run) -> None:
    [shard, _] = run.built().shards
    run.media_file(shard.id).write(b"[]")

    with pytest.raises(CorruptRunError, match="names 0 media files, but shard 00000-0 needs 3"):
        read_media(run, shard)


def test_rows_that_are_sent_again_bring_their_media(go: Go, emulator: Emulator, photos: pa.Table, tmp_path: Path) -> None:
    emulator.faults.add(RowFault(do="error", keys=("k3",), code=14, display_name="attempt 0"))

    summary = go(source=photos, request=ASK, max_redrives=1)

    assert summary.results == 6
    run = Run(locate(str(tmp_path / "run")))
    again: Any = read_json(run.media_file(ShardAttempt(0, 1)), list[MediaFile])
    assert [Path(file.source).name for file in again] == ["c.png"]
