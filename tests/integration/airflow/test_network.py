"""Proxies and certificates as docs/connections.md describes them: from the environment of the process."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import importlib
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_gemini_batch import GeminiHook
from tests.integration.engine.scripted_server import Answer, Script, serving

GOOD = (True, "Connected. The key can list batch jobs.")


@pytest.fixture(autouse=True, params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        importlib.import_module(request.param)
    except ImportError:
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", request.param)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def listing() -> Iterator[Script]:
    """A server, or a proxy, that answers each request with an empty listing."""
    with serving(lambda method, path: Answer(body={"operations": []})) as script:
        yield script


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> GeminiHook:
    connection = {"conn_type": "gemini", "password": "AIzaAnyKey", "host": url, "extra": {"request_timeout": 5}}
    monkeypatch.setenv("AIRFLOW_CONN_GEMINI_DEFAULT", json.dumps(connection))
    return GeminiHook()


def test_requests_go_through_the_proxy_of_the_environment(listing: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", listing.url)

    assert connect(monkeypatch, "http://gemini.invalid").test_connection() == GOOD
    assert [path.split("?")[0] for _, path, _, _ in listing.seen] == ["http://gemini.invalid/v1beta/batches"]


def test_a_host_in_no_proxy_is_called_directly(listing: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a port that nothing listens on
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    assert connect(monkeypatch, listing.url).test_connection() == GOOD
    assert [path.split("?")[0] for _, path, _, _ in listing.seen] == ["/v1beta/batches"]


def test_a_certificate_of_an_own_authority_is_trusted_from_ssl_cert_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    with tls_server(certificate) as url:
        works, message = connect(monkeypatch, url).test_connection()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        works_by_another_variable, _ = connect(monkeypatch, url).test_connection()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

        assert connect(monkeypatch, url).test_connection() == GOOD
    assert (works, works_by_another_variable) == (False, False)
    assert "CERTIFICATE_VERIFY_FAILED" in message


def make_certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway of a test")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "gateway.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@contextlib.contextmanager
def tls_server(certificate: Path) -> Iterator[str]:
    """The URL of a server that answers each request with an empty listing."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"operations": []}')

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
