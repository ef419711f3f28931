"""Registered webhooks, and the webhooks of single jobs, in the database."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow_gemini_batch.emulator.clock import HOUR, timestamp_us
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.page_tokens import next_token, open_token
from airflow_gemini_batch.emulator.proto_json import Json, get_list, get_object
from airflow_gemini_batch.emulator.service import Service, new_id
from airflow_gemini_batch.emulator.webhooks.signatures import new_secret, truncated

ENABLED = "enabled"
STATES = (ENABLED, "disabled", "disabled_due_to_failed_deliveries")

#: Events that can be subscribed to. The emulator sends only batch events.
EVENTS = (
    *("batch.succeeded", "batch.cancelled", "batch.expired", "batch.failed"),
    *("interaction.requires_action", "interaction.completed", "interaction.failed", "interaction.cancelled"),
    "video.generated",
)

#: An id that the caller may choose, by the rules that Google's APIs have in common.
_WEBHOOK_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")

#: How long a replaced secret still signs webhooks, unless it is revoked immediately.
_ROTATION_NS = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret. The newest secret of a webhook does not expire."""

    value: str
    expires_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registered webhook. Times are nanoseconds by the emulator's clock."""

    id: str
    project: str
    name: str
    uri: str
    events: tuple[str, ...]
    state: str
    created_ns: int
    updated_ns: int
    secrets: tuple[Secret, ...]
    number: int = 0

    def valid_secrets(self, now: int) -> list[Secret]:
        return [secret for secret in self.secrets if secret.expires_ns is None or secret.expires_ns > now]

    def resource(self, now: int) -> Json:
        """As the service returns it: in snake_case, with truncated secrets."""
        return {
            "id": self.id,
            "name": self.name,
            "uri": self.uri,
            "subscribed_events": list(self.events),
            "signing_secrets": [_shown(secret) for secret in self.valid_secrets(now)],
            "state": self.state,
            "create_time": timestamp_us(self.created_ns),
            "update_time": timestamp_us(self.updated_ns),
        }


class WebhookStore:
    """Webhooks in the database."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store

    def add(self, project: str, name: str, uri: str, events: tuple[str, ...], chosen_id: str | None = None) -> Webhook:
        """Raises a Refusal if `chosen_id` is not an id or in use, by any project."""
        now = self._service.clock.now()
        if chosen_id is not None:
            if not _WEBHOOK_ID.fullmatch(chosen_id):
                raise refusals.invalid_argument(f"Invalid webhook_id: {chosen_id!r}.")
            if self.by_id(chosen_id) is not None:
                raise refusals.webhook_taken(chosen_id)
        webhook = Webhook(chosen_id or new_id(36), project, name, uri, events, ENABLED, now, now, (Secret(new_secret()),))
        self._store.insert("webhooks", **_columns(webhook))
        return webhook

    def get(self, project: str, webhook_id: str) -> Webhook:
        row = self._store.row("SELECT * FROM webhooks WHERE id = ? AND project = ?", webhook_id, project)
        if row is None:
            raise refusals.not_found()
        return _webhook(row)

    def by_id(self, webhook_id: str) -> Webhook | None:
        row = self._store.row("SELECT * FROM webhooks WHERE id = ?", webhook_id)
        return None if row is None else _webhook(row)

    def page(self, project: str, size: int, token: str | None) -> tuple[list[Webhook], str | None]:
        page, (after,) = open_token(token, start=(0,))
        rows = self._store.rows(
            "SELECT * FROM webhooks WHERE project = ? AND number > ? ORDER BY number LIMIT ?", project, after, size + 1
        )
        more = next_token(page + 1, (rows[size - 1]["number"],)) if len(rows) > size else None
        return [_webhook(row) for row in rows[:size]], more

    def change(self, webhook: Webhook, **values: Any) -> Webhook:
        """Changes any of name, uri, events, state and secrets. Returns the changed webhook."""
        columns = {name: _column(value) for name, value in values.items()}
        columns["updated_ns"] = self._service.clock.now()
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._store.run(f"UPDATE webhooks SET {assignments} WHERE id = ?", *columns.values(), webhook.id)  # noqa: S608
        changed = self.by_id(webhook.id)
        return webhook if changed is None else changed

    def rotate(self, webhook: Webhook, *, at_once: bool) -> str:
        """Adds and returns a new secret. The old ones expire now (`at_once`) or after a day."""
        now = self._service.clock.now()
        kept = () if at_once else tuple(Secret(old.value, old.expires_ns or now + _ROTATION_NS) for old in webhook.secrets)
        secret = new_secret()
        self.change(webhook, secrets=(*kept, Secret(secret)))
        return secret

    def delete(self, webhook: Webhook) -> None:
        self._store.run("DELETE FROM webhooks WHERE id = ?", webhook.id)

    def subscribed(self, project: str, event: str) -> list[Webhook]:
        rows = self._store.rows("SELECT * FROM webhooks WHERE project = ? AND state = ? ORDER BY number", project, ENABLED)
        return [webhook for row in rows if event in (webhook := _webhook(row)).events]

    def save_job_webhooks(self, job: str, body: Json) -> None:
        """Stores the `webhookConfig` of a job."""
        config = get_object(body, "webhookConfig")
        uris = [str(uri) for uri in get_list(config, "uris")]
        for uri in uris:
            checked_uri(uri)
        if uris:
            metadata = json.dumps(get_object(config, "userMetadata"))
            self._store.insert("job_webhooks", job=job, uris=json.dumps(uris), user_metadata=metadata)

    def job_webhooks(self, job: str) -> tuple[list[str], Json]:
        """The URIs that replace the registered webhooks for this job, and the user metadata that is sent to them."""
        row = self._store.row("SELECT * FROM job_webhooks WHERE job = ?", job)
        return ([], {}) if row is None else (json.loads(row["uris"]), json.loads(row["user_metadata"]))

    def has_receivers(self) -> bool:
        """Whether there are enabled webhooks, or unfinished jobs with webhooks of their own."""
        found = self._store.row(
            "SELECT EXISTS (SELECT 1 FROM webhooks WHERE state = ?) OR EXISTS"
            " (SELECT 1 FROM job_webhooks JOIN jobs ON jobs.id = job_webhooks.job WHERE settled_ns IS NULL)",
            ENABLED,
        )
        return found is not None and bool(found[0])


def checked_uri(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise refusals.invalid_argument(f"Invalid webhook URI: {uri!r}.")
    return uri


def _shown(secret: Secret) -> Json:
    shown: Json = {"truncated_secret": truncated(secret.value)}
    if secret.expires_ns is not None:
        shown["expire_time"] = timestamp_us(secret.expires_ns)
    return shown


def _columns(webhook: Webhook) -> dict[str, Any]:
    names = ("id", "project", "name", "uri", "events", "state", "created_ns", "updated_ns", "secrets")
    return {name: _column(getattr(webhook, name)) for name in names}


def _column(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    return json.dumps([[one.value, one.expires_ns] if isinstance(one, Secret) else one for one in value])


def _webhook(row: sqlite3.Row) -> Webhook:
    values = {name: row[name] for name in ("id", "project", "name", "uri", "state", "created_ns", "updated_ns", "number")}
    secrets = tuple(Secret(value, expires) for value, expires in json.loads(row["secrets"]))
    return Webhook(**values, events=tuple(json.loads(row["events"])), secrets=secrets)
