"""The service's public keys: how often they are fetched, and what happens when a fetch fails."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Iterator

import pytest

from airflow_gemini_batch.webhooks.keys import KeySet, KeysUnavailableError
from tests.unit.webhooks.key_server import KeyServer, key_server
from tests.unit.webhooks.signing import KEY_ID, jwks


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(server: KeyServer, clock: Clock) -> KeySet:
    return KeySet(server.url, clock=clock)


async def test_a_key_is_fetched_once_and_kept_for_an_hour(server: KeyServer, keys: KeySet, clock: Clock) -> None:
    for _ in range(3):
        assert await keys.key(KEY_ID)
    clock.now += 3_599
    assert await keys.key(KEY_ID)
    assert server.requests == 1

    clock.now += 1
    assert await keys.key(KEY_ID)
    assert server.requests == 2


async def test_a_withdrawn_key_is_unknown_after_an_hour(server: KeyServer, keys: KeySet, clock: Clock) -> None:
    assert await keys.key(KEY_ID)
    server.body = json.dumps(jwks("k2")).encode()
    clock.now += 3_600

    assert await keys.key(KEY_ID) is None


async def test_a_new_key_is_found_once_the_cool_down_has_passed(server: KeyServer, keys: KeySet, clock: Clock) -> None:
    assert await keys.key(KEY_ID)
    server.body = json.dumps(jwks("k2")).encode()
    assert await keys.key("k2") is None

    clock.now += 60

    assert await keys.key("k2")


@pytest.mark.parametrize("status", [200, 500])
async def test_invented_key_ids_cost_one_fetch_a_minute_also_when_fetches_fail(
    status: int, server: KeyServer, keys: KeySet, clock: Clock
) -> None:
    server.status = status

    for second in range(180):
        try:
            assert await keys.key(f"invented-{second}") is None
        except KeysUnavailableError:
            assert status == 500
        clock.now += 1

    assert server.requests == 3


async def test_many_invented_key_ids_at_once_cost_one_fetch(server: KeyServer, keys: KeySet) -> None:
    assert await asyncio.gather(*(keys.key(f"invented-{number}") for number in range(50))) == [None] * 50
    assert server.requests == 1


async def test_known_keys_stay_usable_while_the_service_is_unreachable(server: KeyServer, keys: KeySet, clock: Clock) -> None:
    assert await keys.key(KEY_ID)
    server.status = 503
    clock.now += 3_600

    for _ in range(120):
        assert await keys.key(KEY_ID)
        clock.now += 1

    assert server.requests == 3
    with pytest.raises(KeysUnavailableError, match="503"):
        await keys.key("k2")


async def test_it_recovers_when_the_service_does(server: KeyServer, keys: KeySet, clock: Clock) -> None:
    server.status = 503
    with pytest.raises(KeysUnavailableError):
        await keys.key(KEY_ID)
    server.status = 200
    with pytest.raises(KeysUnavailableError):
        await keys.key(KEY_ID)

    clock.now += 60

    assert await keys.key(KEY_ID)
    assert await keys.key("k2") is None


async def test_a_known_key_does_not_wait_for_a_fetch_and_the_event_loop_does_not_either(
    server: KeyServer, keys: KeySet, clock: Clock
) -> None:
    assert await keys.key(KEY_ID)
    clock.now += 60
    server.may_answer.clear()
    server.asked.clear()

    waiting = asyncio.create_task(keys.key("invented"))
    await asyncio.to_thread(server.asked.wait, 10)

    assert await keys.key(KEY_ID)
    assert not waiting.done()
    server.may_answer.set()
    assert await waiting is None


async def test_an_abandoned_fetch_does_not_make_a_key_unknown(server: KeyServer, keys: KeySet) -> None:
    server.may_answer.clear()
    waiting = asyncio.create_task(keys.key(KEY_ID))
    await asyncio.to_thread(server.asked.wait, 10)

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    server.may_answer.set()

    with pytest.raises(KeysUnavailableError):
        await keys.key(KEY_ID)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="html"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"keys"', id="a text"),
        pytest.param(b'{"keys": 7}', id="keys is a number"),
        pytest.param(b'{"keys": []}', id="no keys"),
        pytest.param(b'{"keys": [null]}', id="a null key"),
        pytest.param(b'{"keys": [{"kty": "RSA", "kid": "k1", "n": "!", "e": "!"}]}', id="a damaged key"),
        pytest.param(json.dumps({"keys": [{**jwks()["keys"][0], "use": "enc"}]}).encode(), id="a key for encryption"),
        pytest.param(json.dumps({"keys": [{**jwks()["keys"][0], "kid": [1]}]}).encode(), id="an id that is not a text"),
        pytest.param(b"\xff\xfe\xfd", id="not text"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b" " * (1 << 20) + json.dumps(jwks()).encode(), id="more than 1 MiB"),
        pytest.param(gzip.compress(json.dumps(jwks()).encode()), id="compressed"),
    ],
)
async def test_a_document_that_is_not_a_key_set_makes_the_keys_unavailable(body: bytes, server: KeyServer, keys: KeySet) -> None:
    server.body = body
    server.headers = {"Content-Encoding": "gzip"} if body.startswith(b"\x1f\x8b") else {}

    with pytest.raises(KeysUnavailableError):
        await keys.key(KEY_ID)


@pytest.mark.parametrize("status", [204, 301, 302, 307, 404, 500])
async def test_a_status_other_than_200_makes_the_keys_unavailable_and_no_redirect_is_followed(
    status: int, server: KeyServer, keys: KeySet
) -> None:
    server.status = status
    server.headers = {"Location": server.url}
    if status == 204:
        server.body = b""

    with pytest.raises(KeysUnavailableError, match=str(status)):
        await keys.key(KEY_ID)
    assert server.requests == 1


async def test_a_response_that_drips_is_given_up_in_time(server: KeyServer) -> None:
    server.drip = 0.02  # each byte is in time, the whole would take half a minute

    with pytest.raises(KeysUnavailableError, match="longer than"):
        await KeySet(server.url, timeout=0.2).key(KEY_ID)


async def test_headers_that_drip_are_given_up_in_time(server: KeyServer) -> None:
    server.drips_headers = True

    with pytest.raises(KeysUnavailableError, match="headers have not ended"):
        await KeySet(server.url, timeout=0.5).key(KEY_ID)


async def test_a_server_that_does_not_answer_is_given_up_in_time(server: KeyServer) -> None:
    server.may_answer.clear()

    with pytest.raises(KeysUnavailableError, match="Timeout"):
        await KeySet(server.url, timeout=0.1).key(KEY_ID)


async def test_a_response_that_ends_early_makes_the_keys_unavailable(server: KeyServer, keys: KeySet) -> None:
    server.headers = {"Content-Length": str(len(server.body) + 100)}

    with pytest.raises(KeysUnavailableError):
        await keys.key(KEY_ID)


async def test_a_port_where_nothing_listens_makes_the_keys_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/keys"

    with pytest.raises(KeysUnavailableError, match="Connect"):
        await KeySet(url).key(KEY_ID)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:,{}", "", "http://", "http://[", "keys"])
async def test_a_url_that_is_not_http_makes_the_keys_unavailable(url: str) -> None:
    with pytest.raises(KeysUnavailableError):
        await KeySet(url).key(KEY_ID)
