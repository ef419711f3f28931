"""Existing files: get, list, download, delete and expiry."""

from __future__ import annotations

import inspect

import pytest
from google import genai
from google.genai import errors

from tests.integration.emulator.conftest import MODEL


def test_a_file_lives_for_forty_eight_hours(emulator, client, steps):
    file = steps.upload(["x"])

    emulator.advance(47.9 * 3600)
    assert client.files.get(name=file.name).name == file.name
    emulator.advance(0.2 * 3600)

    with pytest.raises(errors.ClientError, match="You do not have permission to access the File") as caught:
        client.files.get(name=file.name)
    assert caught.value.code == 403
    assert list(client.files.list()) == []


def test_an_unknown_file_answers_403(client):
    with pytest.raises(errors.ClientError) as caught:
        client.files.get(name="files/abc123")

    assert caught.value.details["error"] == {
        "code": 403,
        "message": "You do not have permission to access the File abc123 or it may not exist.",
        "status": "PERMISSION_DENIED",
    }


def test_listing_pages_through_all_files(client, steps, http):
    assert http.get("/v1/files").json() == {}
    names = [steps.upload([str(number)]).name for number in range(12)]

    assert [file.name for file in client.files.list(config={"page_size": 5})] == list(reversed(names))
    assert len(http.get("/v1/files").json()["files"]) == 10


def test_a_deleted_file_is_gone_and_its_name_is_free(client, steps):
    steps.upload(["x"], name="mine")

    client.files.delete(name="files/mine")

    with pytest.raises(errors.ClientError, match="403"):
        client.files.get(name="files/mine")
    assert steps.upload(["y"], name="mine").name == "files/mine"


def test_uploads_cannot_be_downloaded(client, steps):
    file = steps.upload(["x"])

    with pytest.raises(errors.ClientError, match="400"):
        client.files.download(file=file.name)


def test_registered_cloud_storage_objects_can_be_used_in_requests(client, http):
    request = {"uris": ["gs://bucket/films/a.mp4", "gs://bucket/b.pdf"]}
    files = http.post("/v1/files:register", json=request, headers={"authorization": "Bearer token"}).json()["files"]

    assert [(file["source"], file["state"], file["mimeType"]) for file in files] == [
        ("REGISTERED", "ACTIVE", "video/mp4"),
        ("REGISTERED", "ACTIVE", "application/pdf"),
    ]
    part = {"fileData": {"fileUri": files[0]["uri"], "mimeType": "video/mp4"}}
    assert client.models.generate_content(model=MODEL, contents=[{"role": "user", "parts": [part]}]).candidates
    client.files.delete(name=files[1]["name"])


@pytest.mark.parametrize(
    ("uris", "headers", "status"),
    [(["gs://bucket/a"], {}, 401), (["https://x/a"], {"authorization": "Bearer token"}, 400)],
)
def test_only_objects_can_be_registered_and_only_with_a_token(http, uris, headers, status):
    assert http.post("/v1/files:register", json={"uris": uris}, headers=headers).status_code == status


def test_output_files_have_long_ids_and_cannot_be_deleted(emulator, client, steps):
    job = steps.submit()
    emulator.advance(1000)
    name = client.batches.get(name=job.name).dest.file_name

    assert len(name.removeprefix("files/")) == 42
    assert client.files.get(name=name).source.name == "GENERATED"
    with pytest.raises(errors.ClientError, match="cannot be more than 40 characters") as caught:
        client.files.delete(name=name)
    assert caught.value.code == 400


def test_output_files_expire_as_well(emulator, client, steps):
    job = steps.submit()
    emulator.advance(1000)
    name = client.batches.get(name=job.name).dest.file_name

    emulator.advance(48 * 3600)

    with pytest.raises(errors.ClientError, match="403"):
        client.files.download(file=name)


def test_a_job_keeps_its_input_when_the_file_is_deleted(emulator, client, steps):
    file = steps.upload([steps.line("a")])
    job = client.batches.create(model="gemini-2.5-flash", src=file.name)

    client.files.delete(name=file.name)
    emulator.advance(1000)

    assert [row["key"] for row in steps.rows(job)] == ["a"]


def test_a_download_to_a_path_equals_the_download_to_memory(emulator, client, steps, tmp_path):
    job = steps.submit(5000)
    emulator.advance(1000)
    name = client.batches.get(name=job.name).dest.file_name

    if "destination" not in inspect.signature(client.files.download).parameters:
        pytest.skip(f"google-genai {genai.__version__} downloads to memory alone")
    client.files.download(file=name, destination=str(tmp_path / "out.jsonl"))

    content = (tmp_path / "out.jsonl").read_bytes()
    assert content == client.files.download(file=name)
    assert len(content) == client.files.get(name=name).size_bytes
    assert content.count(b"\n") == 5000


@pytest.mark.parametrize(
    ("asked", "status", "told", "part"),
    [
        ("bytes=10-", 206, "bytes 10-{last}/{size}", slice(10, None)),
        ("bytes=0-9", 206, "bytes 0-9/{size}", slice(0, 10)),
        ("bytes=-7", 206, "bytes {tail}-{last}/{size}", slice(-7, None)),
        ("bytes=99999999-", 416, "bytes */{size}", slice(0, 0)),
    ],
)
def test_a_part_of_an_output_can_be_downloaded(asked, status, told, part, emulator, client, steps, http):
    job = steps.submit(20)
    emulator.advance(1000)
    name = client.batches.get(name=job.name).dest.file_name
    whole = client.files.download(file=name)

    answer = http.get(f"/v1beta/{name}:download?alt=media", headers={"Range": asked})

    size = len(whole)
    assert answer.status_code == status
    told = told.format(last=size - 1, size=size, tail=size - 7)
    assert answer.headers["content-range"] in (told, told.removeprefix("bytes "))
    if status == 206:
        assert answer.content == whole[part]
