"""The control API is for programs on this machine. Web pages, and names that were rebound to this machine, are refused."""

from __future__ import annotations

import httpx
import pytest

from airflow_gemini_batch.emulator import Emulator, JobFault

CALLS = [
    ("GET", ""),
    ("GET", "/"),
    ("GET", "/faults"),
    ("POST", "/faults"),
    ("DELETE", "/faults"),
    ("DELETE", "/faults/1"),
    ("GET", "/clock"),
    ("POST", "/clock"),
    ("GET", "/idle"),
    ("POST", "/idle"),
    ("GET", "/journal"),
    ("GET", "/calls"),
    ("GET", "/jobs"),
    ("GET", "/deliveries"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}],
    ids=lambda headers: next(iter(headers)),
)
def test_no_call_of_the_control_api_answers_a_foreign_page(
    emulator: Emulator, http: httpx.Client, method: str, path: str, headers: dict[str, str]
):
    emulator.faults.add(JobFault())
    before = (emulator.faults.list(), emulator.about()["options"])

    refused = http.request(method, f"/emulator{path}", headers=headers, content=b"{}")

    assert (refused.status_code, refused.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert (emulator.faults.list(), emulator.about()["options"]) == before


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:{port}", 200),
        ("127.9.9.9:1", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("emulator.localhost:80", 200),
        ("[::1]:{port}", 200),
        ("emulator.test:{port}", 200),  # in control_hosts
        ("", 403),
        ("evil.example:{port}", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example@127.0.0.1.evil.example", 403),
        ("192.168.1.1", 403),
        ("0.0.0.0", 403),  # noqa: S104
        ("[::1", 403),
        ("169.254.169.254", 403),
    ],
)
def test_the_host_must_be_a_loopback_one_or_named(start, host: str, status: int):
    emulator = start(control_hosts=("emulator.test",))
    named = host.format(port=emulator.url.rpartition(":")[2])

    answer = httpx.get(f"{emulator.url}/emulator/faults", headers={"host": named}, trust_env=False)

    # A Host header that is no host name at all is refused by the HTTP server itself.
    assert answer.status_code in ((status, 400) if status == 403 else (200,))


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 200),
        ("http://127.0.0.1:1", 403),  # another program of this machine
        ("http://localhost:{port}", 403),
        ("null", 403),
        ("file://", 403),
        ("http://evil.example:{port}", 403),
    ],
)
def test_the_origin_must_be_the_emulators_own(emulator: Emulator, http: httpx.Client, origin: str, status: int):
    own = origin.format(port=emulator.url.rpartition(":")[2])

    assert http.get("/emulator/faults", headers={"origin": own}).status_code == status


def test_the_api_itself_answers_under_any_name(http: httpx.Client):
    assert http.get("/v1/batches", headers={"host": "generativelanguage.example"}).status_code == 200
