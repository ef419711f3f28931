"""Media columns become parts of a request, in the form that google-genai itself sends."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request import sdk_request
from airflow_gemini_batch.engine.request.encoded import Encoded, InvalidRow
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.run.media_manifest import files_named
from airflow_gemini_batch.engine.specs import GenerateRequest, Media

FILES = "https://generativelanguage.googleapis.com/v1beta/files/"
PNG = b"\x89PNG\r\n\x1a\n\xfb\xff\xfe"


def encoded(columns: dict[str, Any], *media: str | Media, prompt: str = "What is it?") -> list[bytes | InvalidRow]:
    batch = pa.RecordBatch.from_pydict(columns)
    return asked(batch, *media, prompt=prompt).rows()


def asked(batch: pa.RecordBatch, *media: str | Media, prompt: str = "What is it?") -> Encoded:
    return compile_request(GenerateRequest(prompt=prompt, media=media), batch.schema, "gemini-3.6-flash").encode(batch)


def parts(request: bytes | InvalidRow) -> list[dict[str, Any]]:
    assert isinstance(request, bytes), request
    [content] = json.loads(request)["contents"]
    found: list[dict[str, Any]] = content["parts"]
    return found


def problem(columns: dict[str, Any], *media: str | Media) -> str:
    [request] = encoded(columns, *media)
    assert isinstance(request, InvalidRow), request
    return request.message


def uri_part(uri: str, mime_type: str) -> dict[str, Any]:
    return {"file_data": {"file_uri": uri, "mime_type": mime_type}}


@pytest.mark.parametrize(
    ("value", "media", "sent"),
    [
        ("https://shop.example/a.png", "m", uri_part("https://shop.example/a.png", "image/png")),
        ("https://shop.example/a.JPG?size=3.gif#x", "m", uri_part("https://shop.example/a.JPG?size=3.gif#x", "image/jpeg")),
        ("gs://bucket/talk.mp3", "m", uri_part("gs://bucket/talk.mp3", "audio/mp3")),
        ("files/abc-12", Media("m", mime_type="video/mp4"), uri_part(f"{FILES}abc-12", "video/mp4")),
        (f"{FILES}abc", Media("m", mime_type="video/mp4"), uri_part(f"{FILES}abc", "video/mp4")),
        ("https://x.example/a.png", Media("m", mime_type="image/webp"), uri_part("https://x.example/a.png", "image/webp")),
    ],
)
def test_a_uri_is_sent_as_file_data(value: str, media: str | Media, sent: dict[str, Any]) -> None:
    [request] = encoded({"m": [value]}, media)

    assert parts(request) == [sent, {"text": "What is it?"}]


@pytest.mark.parametrize("value", [f"{FILES}abc", "https://www.youtube.com/watch?v=abc", "https://youtu.be/abc"])
def test_where_the_service_knows_the_type_nobody_has_to_say_it(value: str) -> None:
    [untold] = encoded({"m": [value]}, "m")
    [told] = encoded({"m": [value]}, Media("m", mime_type="video/mp4"))

    assert parts(untold)[0] == {"file_data": {"file_uri": value}}
    assert parts(told)[0] == uri_part(value, "video/mp4")


def test_bytes_and_uris_are_written_as_the_sdk_writes_them() -> None:
    [ours] = encoded({"b": [PNG], "u": ["gs://b/a.pdf"]}, Media("b", mime_type="image/png"), "u")

    content = [
        types.Part.from_bytes(data=PNG, mime_type="image/png"),
        types.Part.from_uri(file_uri="gs://b/a.pdf", mime_type="application/pdf"),
        types.Part(text="What is it?"),
    ]
    request = types.InlinedRequest(contents=content)
    assert json.loads(ours) == sdk_request._written(lambda client: client.batches.create(model="m", src=[request]))  # type: ignore[arg-type]


def test_media_stand_before_the_text_in_the_order_of_the_argument() -> None:
    columns = {"name": ["vase"], "front": ["gs://b/1.png"], "more": [["gs://b/2.png", "gs://b/3.jpg"]]}

    [request] = encoded(columns, "more", "front", prompt="Is it a ${name}?")

    assert [part.get("text") or part["file_data"]["file_uri"] for part in parts(request)] == [
        "gs://b/2.png", "gs://b/3.jpg", "gs://b/1.png", "Is it a vase?",
    ]  # fmt: skip


def test_the_rows_own_mime_type_goes_before_the_argument_and_that_before_the_ending() -> None:
    columns = {"m": ["gs://b/1.png"] * 2, "kind": ["image/webp", None]}

    first, second = encoded(columns, Media("m", mime_type="image/heic", mime_type_column="kind"))

    assert parts(first)[0] == uri_part("gs://b/1.png", "image/webp")
    assert parts(second)[0] == uri_part("gs://b/1.png", "image/heic")


def test_a_list_of_media_may_have_a_list_of_mime_types() -> None:
    [request] = encoded({"m": [[b"1", b"2"]], "kind": [["image/png", "audio/wav"]]}, Media("m", mime_type_column="kind"))

    assert [part["inline_data"]["mime_type"] for part in parts(request)[:2]] == ["image/png", "audio/wav"]


@pytest.mark.parametrize(
    ("columns", "media", "message"),
    [
        ({"m": pa.array([None], pa.string())}, "m", "media column 'm' is null"),
        ({"m": pa.array([[]], pa.list_(pa.string()))}, "m", "media column 'm' is an empty list"),
        ({"m": [["gs://b/a.png", None]]}, "m", "media column 'm' at position 1 is null"),
        ({"m": [""]}, "m", "media column 'm' is empty"),
        ({"m": [b""]}, Media("m", mime_type="image/png"), "media column 'm' is empty"),
        ({"m": ["gs://b.png/a"]}, "m", "no known MIME type of 'gs://b.png/a': give mime_type= or mime_type_column="),
        ({"m": ["/tmp/scan"]}, "m", "which the service cannot open: expected files/…"),
        ({"m": [b"1"], "kind": pa.array([None], pa.string())}, Media("m", mime_type_column="kind"), "no known MIME type: give"),
        ({"m": ["gs://b/a"], "kind": ["picture"]}, Media("m", mime_type_column="kind"), "'picture' as its MIME type"),
        ({"m": ["/etc/passwd.png"]}, "m", "which the service cannot open: expected files/…"),
        ({"m": ["http://x/a.png"]}, "m", "write Media('m', upload=[…])"),
        ({"m": [[b"1"]], "kind": [["image/png"] * 2]}, Media("m", mime_type_column="kind"), "has 1 values, 'kind' has 2"),
    ],
)
def test_a_row_whose_media_cannot_be_sent_says_why(columns: dict[str, Any], media: str | Media, message: str) -> None:
    assert message in problem(columns, media)


def test_text_that_is_not_utf8_is_a_problem_of_its_row_alone() -> None:
    broken = pa.array([b"gs://b/\xff.png", b"gs://b/a.png"], pa.binary()).view(pa.string())

    bad, good = encoded({"m": broken}, "m")

    assert isinstance(bad, InvalidRow)
    assert "media column 'm' is not valid UTF-8" in bad.message
    assert len(parts(good)) == 2


def test_problems_of_the_text_and_of_the_media_are_told_together() -> None:
    columns = {"m": pa.array([None], pa.string()), "name": pa.array([None], pa.string())}

    [request] = encoded(columns, "m", prompt="Is it ${name}?")

    assert request == InvalidRow("placeholder ${name} is null; media column 'm' is null")


def test_what_is_not_required_is_left_out() -> None:
    columns = {"m": pa.array([None], pa.string()), "n": pa.array([["gs://b/a.png", None]])}

    [request] = encoded(columns, Media("m", required=False), Media("n", required=False))

    assert parts(request) == [uri_part("gs://b/a.png", "image/png"), {"text": "What is it?"}]


@pytest.mark.parametrize(
    ("media", "message"),
    [
        (("absent",), "media names a column that the source does not have: 'absent'"),
        (("number",), "which is of type int64; expected URIs as text, or bytes"),
        (("bytes",), r"Write Media\('bytes', mime_type='image/png'\)"),
        ((Media("bytes", mime_type="image/png", upload=["/"]),), "leave out upload"),
        ((Media("uri", mime_type="png"),), "'png' is not a MIME type"),
        ((Media("uri", mime_type_column="number"),), "'number' has type int64; expected MIME types"),
        ((3,), "media must be column names or Media objects"),
        (3, "media must be column names or Media objects"),
        ((Media("uri", mime_type=5),), "5 is not a MIME type"),  # type: ignore[arg-type]
        ((Media(5),), "a column is given by its name"),  # type: ignore[arg-type]
    ],
)
def test_media_that_cannot_work_are_refused_before_any_row_is_read(media: Any, message: str) -> None:
    schema = pa.schema([("uri", pa.string()), ("bytes", pa.binary()), ("number", pa.int64())])

    with pytest.raises(InputError, match=message):
        compile_request(GenerateRequest(prompt="p", media=media), schema, "m")


def test_the_spec_names_the_media_and_is_the_same_each_time() -> None:
    schema = pa.schema([("m", pa.string())])
    request = GenerateRequest(prompt="p", system_instruction="s", media="m")

    one, other = (compile_request(request, schema, "m").spec for _ in range(2))

    assert one == other
    assert one["media"][0]["column"] == "m"
    assert json.loads(json.dumps(one)) == one


@settings(deadline=None)  # each example has a request of its own written by the SDK
@given(content=st.binary(min_size=1), uri=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_content_comes_back_out_of_the_request(content: bytes, uri: str) -> None:
    media = (Media("b", mime_type="image/png"), Media("u", mime_type="image/png"))

    [request] = encoded({"b": [content], "u": [f"gs://b/{uri}"]}, *media)

    inline, file, _ = parts(request)
    assert base64.urlsafe_b64decode(inline["inline_data"]["data"]) == content
    assert file["file_data"]["file_uri"] == f"gs://b/{uri}"


# --- files that are read here


def upload(tmp_path: Path, *names: str, **options: Any) -> list[bytes | InvalidRow]:
    return encoded({"m": [str(tmp_path / name) for name in names]}, Media("m", upload=["/"], **options))


def test_a_file_is_named_by_its_content_and_mime_type(tmp_path: Path) -> None:
    for name, content in {"a.png": b"1", "same.png": b"1", "other.png": b"2", "same.jpg": b"1"}.items():
        (tmp_path / name).write_bytes(content)

    found = upload(tmp_path, "a.png", "same.png", "other.png", "same.jpg")

    uris = [parts(request)[0]["file_data"]["file_uri"] for request in found]
    assert uris[0] == uris[1]
    assert len(set(uris)) == 3
    assert all(uri.startswith(f"{FILES}gbm-") and len(uri.removeprefix(FILES)) == 40 for uri in uris)


def test_a_request_says_which_file_it_needs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)

    batch = pa.RecordBatch.from_pydict({"m": [str(tmp_path / "a.png")]})
    [[file]] = asked(batch, Media("m", upload=["/"])).media

    assert (file.source, file.size, file.mime_type) == (str(tmp_path / "a.png"), len(PNG), "image/png")
    assert file.sha256 == hashlib.sha256(PNG).hexdigest()


def test_the_files_that_a_written_request_names_are_found_again(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    encoded = asked(pa.RecordBatch.from_pydict({"m": [str(tmp_path / "a.png")]}), Media("m", upload=["/"]))
    [request], [files] = encoded.rows(), encoded.media
    known = {file.name: file for file in files}
    assert isinstance(request, bytes)

    assert files_named(request, known) == files
    assert files_named(b'{"text":"files/gbm-0"}', known) == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.png", "which cannot be read: No such file or directory"),
        ("folder.png", "which cannot be read: it is not a regular file"),
        ("empty.png", "which is empty"),
        ("nul\0.png", "which cannot be read"),
        ("x" * 300 + ".png", "which cannot be read: File name too long"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_of_its_row_alone(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "good.png").write_bytes(PNG)
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()

    bad, good = upload(tmp_path, name, "good.png")

    assert isinstance(bad, InvalidRow)
    assert message in bad.message
    assert len(parts(good)) == 2


def test_a_file_that_an_object_store_does_not_have_is_said_to_be_absent() -> None:
    [request] = encoded({"m": ["memory://bucket/absent.png"]}, Media("m", upload="memory://bucket"))

    assert isinstance(request, InvalidRow)
    assert request.message.endswith("'memory://bucket/absent.png', which cannot be read: No such file or directory")


def test_a_scheme_that_nothing_opens_is_a_problem_of_its_row_alone() -> None:
    [request] = encoded({"m": ["nosuch://x/a.png"]}, Media("m", upload=["nosuch://x/"]))

    assert isinstance(request, InvalidRow)
    assert "which cannot be read: No installed package opens nosuch://x/a.png: Protocol not known: nosuch" in request.message


def test_a_store_that_is_out_of_reach_is_no_problem_of_the_row() -> None:
    def out_of_reach(uri: str) -> Any:
        raise ConnectionError("no route to host")

    schema = pa.schema([("m", pa.string())])
    encoder = compile_request(GenerateRequest(prompt="p", media=[Media("m", upload=["s3://b/"])]), schema, "m", out_of_reach)

    with pytest.raises(InputError, match=r"Cannot read the media file 's3://b/a.png': ConnectionError: no route to host"):
        encoder.encode(pa.RecordBatch.from_pydict({"m": ["s3://b/a.png"]}))


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Answers with the status that stands in the path."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.split("/")[1]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_page_that_the_host_does_not_give_is_a_problem_of_its_row_alone(host: str, status: int) -> None:
    [request] = encoded({"m": [f"{host}/{status}/a.png"]}, Media("m", upload=[host]))

    assert isinstance(request, InvalidRow)
    assert "which cannot be read: " in request.message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_host_that_cannot_answer_now_is_no_problem_of_the_row(host: str, status: int) -> None:
    with pytest.raises(InputError, match=f"Cannot read the media file .*: ClientResponseError: {status}, .*run the same again"):
        encoded({"m": [f"{host}/{status}/a.png"]}, Media("m", upload=[host]))


def test_a_host_that_is_not_there_is_no_problem_of_the_row() -> None:
    with pytest.raises(InputError, match=r"Cannot read the media file .*: ClientConnectorError: Cannot connect to host"):
        encoded({"m": ["http://127.0.0.1:1/a.png"]}, Media("m", upload="http://127.0.0.1:1/"))
