"""Webhooks: managed by the unmodified SDK, signed as the service signs them, and repeated until they are accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import pytest
from google import genai

from airflow_gemini_batch.emulator import Emulator, JobFault, WebhookFault
from tests.integration.emulator.listener import Listener, ReceivedWebhook, listening

EVENTS = ["batch.succeeded", "batch.failed", "batch.expired", "batch.cancelled"]
ENDED = 1_000


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


@pytest.fixture
def register(client: genai.Client, listener: Listener) -> Callable[..., Any]:
    def register(**given: Any) -> Any:
        return client.webhooks.create(**{"name": "test", "subscribed_events": EVENTS, "uri": listener.url, **given})

    return register


def is_signed(received: ReceivedWebhook, secret: str) -> bool:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{received.id}.{received.headers['webhook-timestamp']}.".encode() + received.body
    mine = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return mine in received.headers["webhook-signature"].split(" ")


def until(states: list[str], emulator: Emulator) -> None:
    until_so(emulator, lambda deliveries: [delivery["state"] for delivery in deliveries] == states)


def until_so(emulator: Emulator, is_so: Callable[[list[dict[str, Any]]], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so(found := emulator.deliveries()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_the_sdk_manages_webhooks(client, register):
    made = register(subscribed_events=["batch.succeeded", "batch.failed"])

    assert made.new_signing_secret.startswith("whsec_")
    assert len(base64.b64decode(made.new_signing_secret.removeprefix("whsec_"))) == 32
    found = client.webhooks.get(id=made.id)
    assert (found.name, found.state, found.new_signing_secret) == ("test", "enabled", None)
    assert found.signing_secrets[0].truncated_secret == f"whsec_...{made.new_signing_secret[-4:]}"
    changed = client.webhooks.update(id=made.id, state="disabled", subscribed_events=["batch.expired"])
    assert (changed.state, changed.subscribed_events) == ("disabled", ["batch.expired"])
    client.webhooks.delete(id=made.id)
    assert not client.webhooks.list().webhooks


def test_webhooks_are_listed_page_by_page(client, register):
    ids = [register(name=f"hook-{number}").id for number in range(3)]

    first = client.webhooks.list(page_size=2)
    second = client.webhooks.list(page_size=2, page_token=first.next_page_token)

    assert [webhook.id for webhook in [*first.webhooks, *second.webhooks]] == ids
    assert second.next_page_token is None


@pytest.mark.parametrize(
    "given", [{"uri": "ftp://somewhere"}, {"subscribed_events": ["batch.completed"]}, {"subscribed_events": []}]
)
def test_an_invalid_webhook_is_refused(register, given):
    with pytest.raises(Exception, match="400"):
        register(**given)


def test_an_unknown_webhook_is_not_found(client):
    with pytest.raises(Exception, match="404"):
        client.webhooks.get(id="nothing")


def test_the_end_of_a_job_is_sent_without_any_poll(emulator, steps, register, listener):
    secret = register().new_signing_secret
    job = steps.submit()

    emulator.advance(ENDED)
    [received] = listener.wait_for(1)

    assert is_signed(received, secret)
    assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 60
    assert received.event["type"] == "batch.succeeded"
    assert received.event["version"] == "v1"
    assert received.event["data"] == {"id": job.name, "output_file_uri": f"files/batch-{job.name.removeprefix('batches/')}"}


@pytest.mark.parametrize(
    ("fault", "event"), [({"do": "fail", "error_message": "no"}, "batch.failed"), ({"do": "expire"}, "batch.expired")]
)
def test_other_ends_are_sent_too(emulator, steps, register, listener, fault, event):
    register()
    emulator.faults.add(JobFault(**fault))
    steps.submit()

    emulator.advance(ENDED)
    [received] = listener.wait_for(1)

    assert received.event["type"] == event
    assert received.event["data"].get("error_message") == fault.get("error_message")


def test_a_cancellation_is_sent_to_subscribers(emulator, client, steps, register, listener):
    register()
    register(name="another", subscribed_events=["batch.succeeded"])

    client.batches.cancel(name=steps.submit().name)

    [received] = listener.wait_for(1)
    assert received.event["type"] == "batch.cancelled"
    assert len(emulator.deliveries()) == 1


def test_a_ping_is_sent_to_one_webhook(client, register, listener):
    secret = register().new_signing_secret
    made = register(name="another")

    client.webhooks.ping(id=made.id)

    [received] = listener.wait_for(1)
    assert is_signed(received, made.new_signing_secret)
    assert not is_signed(received, secret)


def test_both_secrets_sign_while_they_rotate(emulator, client, steps, register, listener):
    made = register()
    new = client.webhooks.rotate_signing_secret(id=made.id, revocation_behavior="revoke_previous_secrets_after_h24").secret
    steps.submit()
    emulator.advance(ENDED)
    [during] = listener.wait_for(1)

    steps.submit()
    emulator.advance(24 * 3600)
    [_, after] = listener.wait_for(2)

    assert [is_signed(during, secret) for secret in (made.new_signing_secret, new)] == [True, True]
    assert [is_signed(after, secret) for secret in (made.new_signing_secret, new)] == [False, True]


def test_a_secret_can_be_revoked_at_once(emulator, client, steps, register, listener):
    made = register()
    new = client.webhooks.rotate_signing_secret(id=made.id, revocation_behavior="revoke_previous_secrets_immediately").secret
    steps.submit()

    emulator.advance(ENDED)

    [received] = listener.wait_for(1)
    assert [is_signed(received, secret) for secret in (made.new_signing_secret, new)] == [False, True]


def test_a_jobs_own_webhook_replaces_the_registered_ones(emulator, client, steps, register, listener):
    register()
    file = steps.upload([steps.line("a")])
    own = {"uris": [listener.url + "/own"], "user_metadata": {"job": "1"}}

    job = client.batches.create(model="gemini-2.5-flash", src=file.name, config={"webhook_config": own})
    emulator.advance(ENDED)
    [received] = listener.wait_for(1)

    keys = httpx.get(f"{emulator.url}/.well-known/jwks.json", trust_env=False).json()
    token = received.headers["webhook-signature"]
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=own["uris"][0])
    assert claims["jti"] == received.id
    assert received.event["data"]["id"] == job.name
    assert received.event["user_metadata"] == {"job": "1"}
    assert [delivery["webhook"] for delivery in emulator.deliveries()] == [None]


def test_a_refused_webhook_is_retried_with_growing_delays(emulator, steps, register, listener):
    register()
    listener.answers = [500, 404]
    steps.submit()
    emulator.advance(ENDED)
    listener.wait_for(1)

    emulator.advance(5)
    listener.wait_for(2)
    until_so(emulator, lambda deliveries: deliveries[0]["attempts"] == 2)
    assert 5 < emulator.deliveries()[0]["due_in_seconds"] <= 10
    emulator.advance(10)
    listener.wait_for(3)

    until(["delivered"], emulator)
    assert len({received.id for received in listener.received}) == 1
    assert emulator.deliveries()[0]["attempts"] == 3


def test_after_a_day_the_webhook_is_disabled(emulator, client, steps, register, listener):
    made = register()
    listener.answers = [500] * 100
    steps.submit()
    emulator.advance(ENDED)
    listener.wait_for(1)

    emulator.advance(24 * 3600)
    until(["given up"], emulator)

    assert client.webhooks.get(id=made.id).state == "disabled_due_to_failed_deliveries"
    steps.submit()
    emulator.advance(ENDED)
    assert {job["state"] for job in emulator.jobs()} == {"BATCH_STATE_SUCCEEDED"}
    assert len(emulator.deliveries()) == 1


def test_a_restarted_emulator_sends_waiting_webhooks(start, connect, listener, tmp_path):
    first = start()
    client = connect(first.url)
    client.webhooks.create(name="test", subscribed_events=EVENTS, uri=listener.url)
    request = {"contents": [{"parts": [{"text": "Rain falls."}], "role": "user"}]}
    job = client.batches.create(model="gemini-2.5-flash", src=[request])
    listener.answers = [503]
    first.advance(ENDED)
    listener.wait_for(1)
    first.stop()

    start().advance(5)

    received = listener.wait_for(2)
    assert received[0].id == received[1].id
    assert received[1].event["data"] == {"id": job.name}


def test_only_loopback_addresses_are_called(emulator, client, steps):
    client.webhooks.create(name="real", subscribed_events=EVENTS, uri="https://my-api.com/gemini-callback")
    steps.submit()

    emulator.advance(ENDED)

    until(["kept"], emulator)


class TestFaults:
    @pytest.fixture(autouse=True)
    def registered(self, register: Callable[..., Any]) -> None:
        self.secret = register().new_signing_secret

    def test_duplicates_have_the_same_id(self, emulator, steps, listener):
        emulator.faults.add(WebhookFault(do="duplicate", times=3))
        steps.submit()
        emulator.advance(ENDED)

        assert len({received.id for received in listener.wait_for(3)}) == 1

    def test_a_later_webhook_arrives_first(self, emulator, steps, listener):
        emulator.faults.add(WebhookFault(do="out_of_order", nth=1))
        first = steps.submit()
        emulator.advance(ENDED)
        second = steps.submit()
        emulator.advance(100 + 10)

        assert [received.event["data"]["id"] for received in listener.wait_for(2)] == [second.name, first.name]

    @pytest.mark.parametrize("do", ["bad_signature", "old_timestamp"])
    def test_a_bad_attempt_is_followed_by_a_good_one(self, emulator, steps, listener, do):
        emulator.faults.add(WebhookFault(do=do))
        listener.answers = [401]
        steps.submit()
        emulator.advance(ENDED)
        listener.wait_for(1)
        emulator.advance(5)

        bad, good = listener.wait_for(2)
        assert is_signed(bad, self.secret) == (do == "old_timestamp")
        assert (time.time() - int(bad.headers["webhook-timestamp"]) > 500) == (do == "old_timestamp")
        assert is_signed(good, self.secret)

    def test_a_late_webhook_arrives_late(self, emulator, steps, listener):
        emulator.faults.add(WebhookFault(do="late", seconds=7_200))
        steps.submit()
        emulator.advance(ENDED)
        until_so(emulator, lambda deliveries: any(delivery["due_in_seconds"] > 7_000 for delivery in deliveries))
        assert not listener.received

        emulator.advance(7_200)

        listener.wait_for(1)

    def test_a_lost_webhook_never_arrives(self, emulator, steps, listener):
        emulator.faults.add(WebhookFault(do="lost", event="succeeded$"))
        steps.submit()

        emulator.advance(ENDED)

        until(["lost"], emulator)
        assert not listener.received
