"""Uploads and downloads are continued where a connection broke, and never end with other bytes than were sent."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.errors import DroppedError, OutcomeUnknownError, QuotaError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.gemini.files import RemoteFile
from airflow_gemini_batch.engine.gemini.transfers import CHUNK_BYTES, Progress
from tests.integration.engine.conftest import MODEL
from tests.integration.engine.scripted_server import Answer, Script, serving

pytestmark = pytest.mark.integration

KEY = "AIzaCanaryKeyThatMustNotLeak0123456789"
FILE = {"file": {"name": "files/abc"}}
UNIT = 256 * 1024


#: (command, offset) -> an answer in the place of the service's own, or None.
Trouble = Callable[[str, int], "Answer | None"]


class Uploads:
    """A service that receives resumable uploads. ``trouble`` may answer in its place: (command, offset) -> Answer or None.

    :param keep: how many bytes of a chunk whose answer is dropped have arrived.
    """

    def __init__(self, trouble: Trouble, keep: int = 0) -> None:
        self.trouble, self.keep = trouble, keep
        self.content = b""
        self.sessions = 0
        self.commands: list[tuple[str, int]] = []
        self.script: Script

    def reply(self, method: str, path: str) -> Answer:
        _, _, headers, body = self.script.seen[-1]
        command, offset = headers["x-goog-upload-command"], int(headers.get("x-goog-upload-offset", 0))
        self.commands.append((command, offset))
        assert ("x-goog-api-key" in headers) == (command == "start")
        answer = self.trouble(command, offset)
        if command == "start":
            self.sessions += 1
            self.content = b""
            url = f"{self.script.url}/upload/v1beta/files?upload_id={self.sessions}"
            return answer or Answer(headers={"X-Goog-Upload-URL": url, "X-Goog-Upload-Chunk-Granularity": str(UNIT)})
        if command == "query":
            return answer or self._active()
        if answer is not None:
            self.content = self.content[:offset] + body[: self.keep]
            return answer
        self.content = self.content[:offset] + body
        return Answer(body=FILE, headers={"X-Goog-Upload-Status": "final"}) if "finalize" in command else self._active()

    def _active(self) -> Answer:
        return Answer(headers={"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": str(len(self.content))})


@contextmanager
def uploading(trouble: Trouble, keep: int = 0) -> Iterator[tuple[Uploads, Callable[[bytes], RemoteFile]]]:
    service = Uploads(trouble, keep)
    with (
        serving(service.reply) as service.script,
        GeminiClient(Endpoint(api_key=KEY, base_url=service.script.url, request_timeout=5.0)) as client,
    ):
        yield service, lambda content: client.upload(io.BytesIO(content), name="files/abc", display_name="n")


def once(command: str, answer: Answer) -> Trouble:
    answers = [answer]
    return lambda asked, _: answers.pop() if answers and asked == command else None


DROPPED = Answer(body=None)
CONTENT = bytes(range(256)) * (UNIT // 64)  # four units


class TestAnUploadThatWasDropped:
    @pytest.mark.parametrize("kept", [0, 1, UNIT, len(CONTENT)])
    def test_continues_after_the_bytes_that_have_arrived(self, kept: int) -> None:
        with uploading(once("upload, finalize", DROPPED), keep=kept) as (service, upload):
            assert upload(CONTENT).name == "files/abc"

        assert service.commands == [("start", 0), ("upload, finalize", 0), ("query", 0), ("upload, finalize", kept)]
        assert service.content == CONTENT

    def test_is_over_if_only_the_answer_was_lost(self) -> None:
        final = Answer(body=FILE, headers={"X-Goog-Upload-Status": "final"})
        answers = {"upload, finalize": DROPPED, "query": final}

        with uploading(lambda command, _: answers.get(command), keep=len(CONTENT)) as (service, upload):
            assert upload(CONTENT).name == "files/abc"

        assert [command for command, _ in service.commands] == ["start", "upload, finalize", "query"]

    @pytest.mark.parametrize(
        "said",
        [
            Answer(400, {"error": {"code": 400, "message": "no such command"}}),
            Answer(404, {"error": {"code": 404, "message": "no such upload"}}),
            Answer(501, b"not implemented"),
            Answer(200, {}),
            Answer(200, {}, {"X-Goog-Upload-Status": "cancelled"}),
            Answer(200, {}, {"X-Goog-Upload-Status": "active"}),
            Answer(200, {}, {"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": "-1"}),
            Answer(200, {}, {"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": str(len(CONTENT) + 1)}),
            Answer(200, {}, {"X-Goog-Upload-Status": "final"}),
        ],
    )
    def test_begins_again_if_the_service_cannot_say_how_much_has_arrived(self, said: Answer) -> None:
        answers = {"upload, finalize": [DROPPED], "query": [said]}

        with uploading(lambda command, _: answers[command].pop() if answers.get(command) else None) as (service, upload):
            upload(CONTENT)

        assert service.sessions == 2
        assert service.content == CONTENT

    @pytest.mark.parametrize("said", [DROPPED, Answer(503, b"<html>"), Answer(500, {"error": {"code": 500, "message": "m"}})])
    def test_asks_again_if_the_question_fails(self, said: Answer) -> None:
        answers = {"upload, finalize": [DROPPED], "query": [said]}

        with uploading(lambda command, _: answers[command].pop() if answers.get(command) else None, keep=7) as (service, upload):
            upload(CONTENT)

        assert service.sessions == 1
        assert [command for command, _ in service.commands].count("query") == 2

    def test_begins_again_if_the_question_fails_twice(self) -> None:
        answers = {"upload, finalize": [DROPPED], "query": [Answer(500, b""), Answer(500, b"")]}

        with uploading(lambda command, _: answers[command].pop() if answers.get(command) else None) as (service, upload):
            upload(CONTENT)

        assert service.sessions == 2
        assert service.content == CONTENT

    def test_goes_on_as_long_as_bytes_arrive(self) -> None:
        drops = 12  # more than the attempts of one call
        content = bytes(drops * UNIT)
        left = [DROPPED] * drops

        with uploading(lambda command, _: left.pop() if left and command != "start" and command != "query" else None, UNIT) as (
            service,
            upload,
        ):
            upload(content)

        assert service.sessions == 1
        assert len(service.content) == len(content)

    def test_is_given_up_if_nothing_arrives(self) -> None:
        def trouble(command: str, offset: int) -> Answer | None:
            return DROPPED if command == "upload, finalize" else None

        with uploading(trouble) as (service, upload), pytest.raises(DroppedError):
            upload(CONTENT)

        assert [command for command, _ in service.commands].count("upload, finalize") == 4


def test_a_large_file_goes_in_chunks_that_are_multiples_of_what_the_service_states() -> None:
    content = bytes(2 * CHUNK_BYTES + 1)

    with uploading(lambda command, offset: None) as (service, upload):
        upload(content)

    assert service.commands == [
        ("start", 0),
        ("upload", 0),
        ("upload", CHUNK_BYTES),
        ("upload, finalize", 2 * CHUNK_BYTES),
    ]
    assert service.content == content


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES])
def test_the_last_chunk_ends_the_upload_whatever_the_size(size: int) -> None:
    with uploading(lambda command, offset: None) as (service, upload):
        upload(bytes(size))

    assert service.commands == [("start", 0), ("upload, finalize", 0)]


def test_a_chunk_whose_answer_says_nothing_is_asked_about() -> None:
    silent = [Answer(200, {})]

    with uploading(lambda command, _: silent.pop() if silent and command == "upload" else None, keep=CHUNK_BYTES) as (
        service,
        upload,
    ):
        upload(bytes(CHUNK_BYTES + 5))

    assert service.commands == [("start", 0), ("upload", 0), ("query", 0), ("upload, finalize", CHUNK_BYTES)]


def test_an_upload_that_the_service_has_forgotten_begins_again() -> None:
    gone = [Answer(404, {"error": {"code": 404, "message": "gone"}})]

    with uploading(lambda command, offset: gone.pop() if gone and offset else None) as (service, upload):
        upload(bytes(CHUNK_BYTES + 5))

    assert service.sessions == 2
    assert len(service.content) == CHUNK_BYTES + 5


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(400, {"error": {"code": 400, "message": "m"}}), RefusedError),
        (Answer(429, {"error": {"code": 429, "message": "m"}}), QuotaError),
        (Answer(200, {}, {"X-Goog-Upload-Status": "final"}), OutcomeUnknownError),
        (Answer(200, {"file": {}}, {"X-Goog-Upload-Status": "final"}), OutcomeUnknownError),
        (Answer(200, b"<html>", {"X-Goog-Upload-Status": "final"}), OutcomeUnknownError),
    ],
)
def test_an_upload_that_ends_badly_says_what_it_means(answer: Answer, kind: type[ServiceError]) -> None:
    with (
        uploading(lambda command, _: answer if command == "upload, finalize" else None) as (_, upload),
        pytest.raises(ServiceError) as caught,
    ):
        upload(b"0")

    assert type(caught.value) is kind


class Downloads:
    """A service that gives ``content``, cut after each of ``cuts`` bytes."""

    def __init__(self, content: bytes, cuts: list[int], *, ranges: bool = True) -> None:
        self.content, self.cuts, self.ranges = content, cuts, ranges
        self.etag = '"1"'
        self.firsts: list[int | None] = []
        self.script: Script

    def reply(self, method: str, path: str) -> Answer:
        headers = self.script.seen[-1][2]
        asked = headers.get("range")
        first = None if asked is None else int(asked.removeprefix("bytes=").removesuffix("-"))
        self.firsts.append(first)
        cut = self.cuts.pop(0) if self.cuts else None
        if first is None or not self.ranges or headers.get("if-range", self.etag) != self.etag:
            return Answer(body=self.content, headers={"ETag": self.etag}, cut=cut)
        total = len(self.content)
        if first >= total:
            return Answer(416, b"", {"Content-Range": f"bytes */{total}"})
        where = {"Content-Range": f"bytes {first}-{total - 1}/{total}", "ETag": self.etag}
        return Answer(206, self.content[first:], where, cut=cut)


@contextmanager
def downloading(service: Any, path: Path) -> Iterator[Callable[[], str]]:
    with (
        serving(service.reply) as service.script,
        GeminiClient(Endpoint(api_key=KEY, base_url=service.script.url, request_timeout=5.0)) as client,
    ):
        yield lambda: client.download("files/batch-a", path)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_continues_if_the_service_knows_ranges(ranges: bool, tmp_path: Path) -> None:
    service = Downloads(CONTENT, [UNIT, UNIT] if ranges else [UNIT], ranges=ranges)

    with downloading(service, tmp_path / "out") as download:
        download()

    assert (tmp_path / "out").read_bytes() == CONTENT
    assert service.firsts == ([None, UNIT, 2 * UNIT] if ranges else [None, UNIT])


def test_a_download_that_was_cut_after_its_last_byte_is_whole(tmp_path: Path) -> None:
    class Unended(Downloads):
        def reply(self, method: str, path: str) -> Answer:
            answer = super().reply(method, path)
            if len(self.firsts) == 1:  # more was announced than there is
                answer.headers["Transfer-Encoding"] = "chunked"
                answer.body = f"{len(self.content):x}\r\n".encode() + self.content
                answer.cut = len(answer.body)
            return answer

    service = Unended(CONTENT, [])
    with downloading(service, tmp_path / "out") as download:
        download()

    assert (tmp_path / "out").read_bytes() == CONTENT
    assert service.firsts == [None, len(CONTENT)]


def test_a_file_that_has_changed_meanwhile_is_fetched_from_its_beginning(tmp_path: Path) -> None:
    class Changed(Downloads):
        def reply(self, method: str, path: str) -> Answer:
            if self.firsts:
                self.content, self.etag = self.content[::-1], '"2"'
            return super().reply(method, path)

    with downloading(Changed(CONTENT, [UNIT]), tmp_path / "out") as download:
        download()

    assert (tmp_path / "out").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("where", ["bytes 0-9/10", "bytes 5-9/10", "nonsense", ""])
def test_a_range_that_was_not_asked_for_is_not_put_into_the_file(where: str, tmp_path: Path) -> None:
    class Wrong(Downloads):
        def reply(self, method: str, path: str) -> Answer:
            answer = super().reply(method, path)
            if len(self.firsts) == 2:
                answer.headers["Content-Range"] = where
                answer.body = b"wrong" if where != "bytes 0-9/10" else self.content
            return answer

    with downloading(Wrong(b"0123456789", [3]), tmp_path / "out") as download:
        download()

    assert (tmp_path / "out").read_bytes() == b"0123456789"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=5000), cuts=st.lists(st.integers(0, 3000), max_size=3), ranges=st.booleans())
def test_whatever_is_cut_the_file_is_the_services(content: bytes, cuts: list[int], ranges: bool, tmp_path: Path) -> None:
    with downloading(Downloads(content, cuts, ranges=ranges), tmp_path / "out") as download:
        sha256 = download()

    assert (tmp_path / "out").read_bytes() == content
    assert sha256 == hashlib.sha256(content).hexdigest()


def test_a_transfer_says_how_far_it_is_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    progress = Progress("Uploading n", 2_000_000_000, clock=lambda: now[0])

    for second in range(0, 70, 5):
        now[0] = float(second)
        progress.at(second * 10_000_000)

    assert caplog.messages == ["Uploading n: 300.0 of 2,000.0 MB (15%).", "Uploading n: 600.0 of 2,000.0 MB (30%)."]


def test_a_cut_upload_arrives_whole_at_the_emulator(emulator: Emulator, client: GeminiClient) -> None:
    emulator.faults.add(HttpFault(do="cut_upload", path="upload_id=", bytes=3 * UNIT, count=1))

    file = client.upload(io.BytesIO(CONTENT), name="files/abc", display_name="n")

    assert (file.size, file.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def test_a_cut_output_arrives_whole_from_the_emulator(
    emulator: Emulator, client: GeminiClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = b"".join(b'{"key": "k%d", "request": {"contents": [{"parts": [{"text": "t"}]}]}}\n' % n for n in range(50))
    file = client.upload(io.BytesIO(lines), name="files/abc", display_name="n")
    job = client.create_job(model=MODEL, display_name="j", input_file=file.name)
    emulator.advance(1)
    output = client.get_job(job.name).output_file
    assert output is not None
    emulator.faults.add(HttpFault(do="truncate", path=":download", bytes=1000, count=1))

    with caplog.at_level(logging.INFO):
        sha256 = client.download(output, tmp_path / "out")

    described = client.get_file(output)
    assert described is not None
    assert (described.size, described.sha256) == ((tmp_path / "out").stat().st_size, sha256)
    assert f"Continuing the download of {output} after 1,000 bytes." in caplog.messages
