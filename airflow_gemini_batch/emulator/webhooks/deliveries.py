"""Sends webhooks when jobs end: at least once, in any order, repeated until the receiver answers 2xx.

Invariants: a delivery is stored in the transaction that settles its job, so a kill loses none; its id is the same for every
attempt; nothing leaves the machine unless the option `webhook_targets` allows it.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from airflow_gemini_batch.emulator.batches.jobs import CANCELLED, EXPIRED, FAILED, Job, JobSnapshot
from airflow_gemini_batch.emulator.clock import HOUR, nanoseconds, timestamp_us
from airflow_gemini_batch.emulator.faults.kinds import WebhookFault
from airflow_gemini_batch.emulator.http.bodies import to_json
from airflow_gemini_batch.emulator.service import Service, new_id
from airflow_gemini_batch.emulator.webhooks.signatures import SigningKey, forged, standard_signature
from airflow_gemini_batch.emulator.webhooks.webhook_store import ENABLED, Webhook, WebhookStore

_log = logging.getLogger(__name__)

_EVENT_BY_STATE = {CANCELLED: "batch.cancelled", EXPIRED: "batch.expired", FAILED: "batch.failed"}

#: Seconds (wall clock) between two checks for due deliveries.
_POLL_SECONDS = 0.1

#: Like the service: retries for a day, then the webhook is disabled. After how many attempts is not documented.
_TRIES_FOR_NS = 24 * HOUR
_LONGEST_BACKOFF_SECONDS = 3600.0

_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one receiver. `webhook` is empty if the job named the URI itself."""

    number: int
    id: str
    webhook: str
    uri: str
    job: str | None
    event: str
    body: bytes
    created_ns: int
    due_ns: int
    attempts: int
    state: str
    """`waiting`, `delivered`, `given up` (after a day), `lost` (by a fault), `kept` (not sent: not a loopback address) or
    `dropped` (its webhook was deleted or disabled)."""

    answered: str | None
    fault: WebhookFault | None
    planned: bool

    def shown(self, now_ns: int) -> dict[str, Any]:
        """As the control API returns it."""
        return {
            "id": self.id,
            "webhook": self.webhook or None,
            "uri": self.uri,
            "job": None if self.job is None else f"batches/{self.job}",
            "event": self.event,
            "attempts": self.attempts,
            "state": self.state,
            "answered": self.answered,
            "due_in_seconds": (self.due_ns - now_ns) / 1e9 if self.state == "waiting" else None,
        }


class DeliveryStore:
    """Deliveries in the database, and sending one of them."""

    def __init__(self, service: Service, webhooks: WebhookStore) -> None:
        self.key = SigningKey(service.store)
        self._service = service
        self._store = service.store
        self._webhooks = webhooks

    def announce(self, job: Job, snapshot: JobSnapshot) -> None:
        """Adds the deliveries for a job that has ended. Must be called in the transaction that settles it."""
        event = _EVENT_BY_STATE.get(snapshot.state, "batch.succeeded")
        data: dict[str, Any] = {"id": job.name}
        if event == "batch.succeeded" and not job.inline:
            data["output_file_uri"] = f"files/{job.output_id}"
        if event == "batch.failed" and snapshot.error is not None:
            data |= {"error_code": snapshot.error["code"], "error_message": snapshot.error["message"]}
        uris, metadata = self._webhooks.job_webhooks(job.id)
        echo = {"user_metadata": metadata} if metadata else {}
        if uris:
            for uri in uris:
                self._add("", uri, event, data, job.id, **echo)
            return
        for webhook in self._webhooks.subscribed(job.project, event):
            self._add(webhook.id, webhook.uri, event, data, job.id)

    def ping(self, webhook: Webhook) -> None:
        self._add(webhook.id, webhook.uri, "ping", {"id": webhook.id}, None)

    def shown(self) -> list[dict[str, Any]]:
        """Every delivery, oldest first."""
        now = self._service.clock.now()
        return [_delivery(row).shown(now) for row in self._store.rows("SELECT * FROM deliveries ORDER BY number")]

    def waiting(self) -> list[Delivery]:
        return [_delivery(row) for row in self._store.rows("SELECT * FROM deliveries WHERE state = 'waiting' ORDER BY number")]

    def plan(self, delivery: Delivery) -> Delivery:
        """Decides once which fault applies to the delivery, and whether it may be sent, and stores that."""
        fault = self._service.rules.for_webhook(delivery.event, delivery.uri)
        state, due = delivery.state, delivery.due_ns
        if fault is not None and fault.do == "lost":
            state = "lost"
        elif self._service.options.webhook_targets == "loopback" and not _is_loopback(delivery.uri):
            state = "kept"
            _log.warning("A webhook for %s is not sent: webhook_targets allows only loopback addresses.", delivery.uri)
        if fault is not None and fault.do in ("late", "out_of_order"):
            due += nanoseconds(fault.seconds)
        text = None if fault is None else msgspec.json.encode(fault).decode()
        values = {"state": state, "due_ns": due, "fault": text, "planned": 1}
        return self._change(delivery, **values)

    def send(self, delivery: Delivery, http: httpx.Client) -> None:
        """Makes one attempt, then stores success, the time of the next attempt, or giving up."""
        webhook = self._webhooks.by_id(delivery.webhook) if delivery.webhook else None
        if delivery.webhook and (webhook is None or (webhook.state != ENABLED and delivery.event != "ping")):
            self._change(delivery, state="dropped")
            return
        copies = delivery.fault.times if delivery.fault is not None and delivery.fault.do == "duplicate" else 1
        for _ in range(copies):
            answered = self._post(delivery, webhook, http)
        attempts = delivery.attempts + 1
        if answered.startswith("2"):
            self._change(delivery, state="delivered", attempts=attempts, answered=answered)
            self._release_overtaken(delivery)
            return
        now = self._service.clock.now()
        backoff = min(self._service.options.webhook_retry_seconds * 2.0 ** min(attempts - 1, 30), _LONGEST_BACKOFF_SECONDS)
        if now + nanoseconds(backoff) - delivery.created_ns <= _TRIES_FOR_NS:
            self._change(delivery, attempts=attempts, answered=answered, due_ns=now + nanoseconds(backoff))
            return
        self._change(delivery, state="given up", attempts=attempts, answered=answered)
        if webhook is not None:
            self._webhooks.change(webhook, state="disabled_due_to_failed_deliveries")

    def _post(self, delivery: Delivery, webhook: Webhook | None, http: httpx.Client) -> str:
        try:
            return str(http.post(delivery.uri, content=delivery.body, headers=self._headers(delivery, webhook)).status_code)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__

    def _headers(self, delivery: Delivery, webhook: Webhook | None) -> dict[str, str]:
        fault = delivery.fault if delivery.fault is not None and delivery.attempts < delivery.fault.attempts else None
        timestamp = int(time.time() - (fault.seconds if fault is not None and fault.do == "old_timestamp" else 0))
        is_forged = fault is not None and fault.do == "bad_signature"
        if webhook is None:
            signature = self.key.token(
                uri=delivery.uri, message_id=delivery.id, timestamp=timestamp, job=f"batches/{delivery.job}"
            )
            if is_forged:
                signature = signature[:-8] + "AAAAAAAA"
        else:
            valid = [secret.value for secret in webhook.valid_secrets(self._service.clock.now())]
            keys = [forged(secret) if is_forged else secret for secret in valid]
            signature = " ".join(standard_signature(key, delivery.id, timestamp, delivery.body) for key in keys)
        return {
            "content-type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature,
        }

    def _add(self, webhook: str, uri: str, event: str, data: Any, job: str | None, **echo: Any) -> None:
        now = self._service.clock.now()
        body = to_json({"type": event, "version": "v1", "timestamp": timestamp_us(now), "data": data, **echo})
        self._store.run(
            "INSERT OR IGNORE INTO deliveries (id, webhook, uri, job, event, body, created_ns, due_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(f"msg_{new_id(27)}", webhook, uri, job, event, body, now, now),
        )

    def _change(self, delivery: Delivery, **values: Any) -> Delivery:
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._store.run(f"UPDATE deliveries SET {assignments} WHERE number = ?", *values.values(), delivery.number)  # noqa: S608
        row = self._store.row("SELECT * FROM deliveries WHERE number = ?", delivery.number)
        assert row is not None
        return _delivery(row)

    def _release_overtaken(self, newer: Delivery) -> None:
        for delivery in self.waiting():
            is_held = delivery.fault is not None and delivery.fault.do == "out_of_order" and delivery.attempts == 0
            if is_held and delivery.uri == newer.uri and delivery.number < newer.number:
                self._change(delivery, due_ns=self._service.clock.now())


class DeliverySender:
    """One thread that sends one delivery at a time.

    `settle` detects jobs that have ended, so that their webhooks are sent even if no caller asks for these jobs.
    """

    def __init__(self, service: Service, webhooks: WebhookStore, deliveries: DeliveryStore, settle: Callable[[], None]) -> None:
        self._service = service
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._settle = settle
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="emulator-webhook-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        with httpx.Client(timeout=_ANSWER_SECONDS, trust_env=False, follow_redirects=False) as http:
            while not self._stopping.wait(_POLL_SECONDS):
                try:
                    self._send_due(http)
                except (OSError, sqlite3.Error):
                    # For example a full disk or a locked database. Whatever is due is still in the database.
                    _log.exception("Webhooks could not be sent. Trying again.")

    def _send_due(self, http: httpx.Client) -> None:
        if self._webhooks.has_receivers():
            self._settle()
        for found in self._deliveries.waiting():
            if self._stopping.is_set():
                return
            delivery = found if found.planned else self._deliveries.plan(found)
            if delivery.state == "waiting" and delivery.due_ns <= self._service.clock.now():
                self._deliveries.send(delivery, http)


def _is_loopback(uri: str) -> bool:
    host = urlsplit(uri).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _delivery(row: sqlite3.Row) -> Delivery:
    names = ("number", "id", "webhook", "uri", "job", "event", "created_ns", "due_ns", "attempts", "state", "answered")
    fault = None if row["fault"] is None else msgspec.convert(json.loads(row["fault"]), WebhookFault)
    return Delivery(**{name: row[name] for name in names}, body=bytes(row["body"]), fault=fault, planned=bool(row["planned"]))
