"""A row has no file read that its DAG's author has not named, whatever the row says."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.request.encoded import InvalidRow
from airflow_gemini_batch.engine.request.encoding import compile_request
from airflow_gemini_batch.engine.request.upload_roots import NotAllowedError, UploadRoots, _is_public
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.specs import GenerateRequest, Media

URL_ROOTS = ["s3://bucket/in/", "https://cdn.example.com/pictures", "gs://my_conn@other/x/", "http://10.0.0.5:8080/"]


def never(source: str) -> Location:
    raise AssertionError(f"{source} was opened")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``in`` with a file, beside a secret and a folder whose name begins alike."""
    for name in ("in", "in-secret", "in/deep"):
        (tmp_path / name).mkdir()
    for name in ("in/a.png", "in/deep/b.png", "in-secret/c.png", "secret.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    (tmp_path / "in" / "good-link.png").symlink_to(tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    return tmp_path


@pytest.mark.parametrize("value", ["in/a.png", "in/deep/b.png", "in/deep/../a.png", "in/good-link.png", "./in//a.png"])
def test_a_file_below_a_root_is_opened(value: str, folder: Path) -> None:
    opened = UploadRoots.of([str(folder / "in")]).open_with(locate)

    for source in (f"{folder}/{value}", f"file://{folder}/{value}", f"FILE://{folder}/{value}"):
        assert opened(source).read() == b"x"


@pytest.mark.parametrize(
    "value",
    ["secret.png", "in/../secret.png", "in/link.png", "in/up/secret.png", "in-secret/c.png", "in/deep/../../secret.png",
     "in/pipe.png", "in/deep", "in", "in/%2e%2e/secret.png", ".."],
)  # fmt: skip
def test_a_file_elsewhere_is_not_opened(value: str, folder: Path) -> None:
    opened = UploadRoots.of([str(folder / "in") + "/"]).open_with(never)

    for source in (f"{folder}/{value}", f"file://{folder}/{value}", f"file:{folder}/{value}", f"local://{folder}/{value}"):
        with pytest.raises((NotAllowedError, FileNotFoundError)):
            opened(source)


@pytest.mark.parametrize("value", ["s3://bucket/in/a.png", "S3://bucket/in/x/y.png", "gs://my_conn@other/x/a"])
def test_an_object_below_a_root_is_opened(value: str) -> None:
    opened: list[str] = []

    def note(source: str) -> Any:
        opened.append(source)

    UploadRoots.of(URL_ROOTS).open_with(note)(value)

    assert opened == [value]


@pytest.mark.parametrize("value", ["https://cdn.example.com/pictures/a.png?size=2", "HTTPS://CDN.example.com:443/pictures/a"])
def test_a_web_file_below_a_root_is_allowed(value: str) -> None:
    assert UploadRoots.of(URL_ROOTS).open_with(never)(value).uri == value


HOSTILE = [
    "/etc/passwd", "file:///etc/passwd", "s3://bucket/other/a", "s3://bucket/in/../other", "s3://bucket/in/%2e%2e/other",
    "s3://bucket/in/%252e%252e/other", "s3://bucket/in/..%2fother", "s3://bucket/in/..\\other", "s3://bucket2/in/a",
    "s3://user@bucket/in/a", "gs://other/x/a", "gs://stolen@other/x/a", "http://cdn.example.com/pictures/a",
    "https://cdn.example.com/picturesque/a", "https://cdn.example.com.evil.net/pictures/a",
    "https://cdn.example.com@evil.net/pictures/a", "https://evil.net/https://cdn.example.com/pictures/a",
    "https://cdn.example.com:8443/pictures/a", "https://cdn.example.com/pictures/../private", "http://10.0.0.5/a",
    "http://127.0.0.1/a", "http://[::1]/a", "http://169.254.169.254/latest/meta-data", "http://2130706433/",
    "simplecache::s3://bucket/in/a", "simplecache::file:///etc/passwd", "zip://a::file:///etc/x.zip", "ssh://host/etc/passwd",
    "data:text/plain,x", "ftp://cdn.example.com/pictures/a", "memory://x/a", "https://cdn.example.com/pictures/\n../a",
    "https://[cdn.example.com/pictures/a", "s3:bucket/in/a", "//etc/passwd", "\0", "s3://bucket/in/\0",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_source_is_not_opened(value: str) -> None:
    with pytest.raises((NotAllowedError, ValueError, FileNotFoundError)):
        UploadRoots.of(URL_ROOTS).open_with(never)(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["..", ".", "in", "up", "link.png", "secret.png", "%2e%2e", "..%2f", "\\", "//", "a.png", " "])))
def test_no_way_through_a_folder_leads_out_of_it(folder: Path, steps: list[str]) -> None:
    opened = UploadRoots.of([str(folder / "in")]).open_with(locate)
    try:
        location = opened("/".join([str(folder / "in"), *steps]))
    except OSError:
        return
    assert Path(location.path).resolve().is_relative_to((folder / "in").resolve())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_no_text_of_a_row_opens_anything_elsewhere_or_stops_the_table(folder: Path, text: str) -> None:
    request = GenerateRequest(
        prompt="p", media=[Media("m", mime_type="image/png", upload=[str(folder / "in"), "s3://bucket/in/"])]
    )
    encoder = compile_request(request, pa.schema([("m", pa.string())]), "m", never)

    [row] = encoder.encode(pa.record_batch({"m": [text]})).rows()

    assert isinstance(row, InvalidRow)


def test_a_refused_file_is_a_problem_of_its_row_that_tells_nothing_about_it(folder: Path) -> None:
    request = GenerateRequest(prompt="p", media=[Media("m", upload=[str(folder / "in")])])
    encoder = compile_request(request, pa.schema([("m", pa.string())]), "m", locate)

    good, bad = encoder.encode(pa.record_batch({"m": [f"{folder}/in/a.png", f"{folder}/secret.png"]})).rows()

    assert isinstance(good, bytes)
    assert isinstance(bad, InvalidRow)
    assert "it is not below a place that upload= names" in bad.message


@pytest.mark.parametrize("upload", [True, [""], "s3:///in/", ["s3://bucket/../x"], [1], ["simplecache::s3://bucket/"], ["a\0b"]])
def test_a_root_that_cannot_be_one_is_an_error_before_any_row(upload: Any) -> None:
    with pytest.raises(InputError, match="upload"):
        compile_request(GenerateRequest(prompt="p", media=[Media("m", upload=upload)]), pa.schema([("m", pa.string())]), "m")


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("10.1.2.3", False), ("127.0.0.1", False), ("169.254.169.254", False), ("0.0.0.0", False),  # noqa: S104
     ("::1", False), ("fe80::1%eth0", False), ("::ffff:10.0.0.1", False), ("2001:4860:4860::8888", True), ("224.0.0.1", False)],
)  # fmt: skip
def test_addresses_of_private_networks_are_known(address: str, public: bool) -> None:
    assert _is_public(address) is public


@contextmanager
def serving(reply: Callable[[str], tuple[int, dict[str, str], bytes]]) -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            status, headers, body = reply(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_place_is_not_followed(status: int) -> None:
    with (
        serving(lambda path: (200, {}, b"secret")) as (inside, seen_inside),
        serving(lambda path: (status, {"Location": f"{inside}/secret"}, b"")) as (outside, _),
    ):
        location = UploadRoots.of([f"{outside}/in/"]).open_with(never)(f"{outside}/in/a.png")
        with pytest.raises(Exception), location.open() as file:  # noqa: B017, PT011
            file.read()

    assert seen_inside == []


def test_a_host_whose_name_leads_into_the_private_network_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with serving(lambda path: (200, {}, b"secret")) as (url, seen):
        port = int(url.rpartition(":")[2])
        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **named: real("127.0.0.1", *rest, **named))
        location = UploadRoots.of([f"http://cdn.example.com:{port}/"]).open_with(never)(f"http://cdn.example.com:{port}/a.png")
        with pytest.raises(Exception), location.open() as file:  # noqa: B017, PT011
            file.read()

    assert seen == []
