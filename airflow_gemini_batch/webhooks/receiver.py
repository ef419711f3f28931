"""The receiver of webhooks, as an ASGI application: ``POST /{conn_id}``.

The receiver is open to the internet. Invariants: a body is read only up to a small size and for a short time, nothing is done
before the signature is verified, a refusal gives the sender no reason, and no body can cause a 5xx answer. Only our own failures
do (keys or storage that cannot be reached), so that the service tries again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.webhooks.events import JobEnded, read_event
from airflow_gemini_batch.webhooks.keys import KeySet, KeysUnavailableError
from airflow_gemini_batch.webhooks.notifications import NotificationFolder
from airflow_gemini_batch.webhooks.settings import WebhookSettings
from airflow_gemini_batch.webhooks.signatures import Proof, SignatureError, is_token, key_id_of, verify_standard, verify_token

log = logging.getLogger(__name__)

#: Bytes. Payloads have a few hundred bytes; user metadata may make them longer.
MAX_BODY = 64 * 1024

#: Seconds for the whole body, which the service sends at once. A sender that takes longer may only want to hold the connection.
BODY_TIMEOUT = 10.0

#: Seconds for which a connection's settings are cached, so that a burst of webhooks reads the connection once.
_KEEP_SETTINGS = 30.0
_SWEEP_EVERY = 3600.0

#: Number of accepted webhooks that are remembered, so that most duplicates cost nothing. Duplicates are harmless in any case.
_MAX_ACCEPTED = 10_000


@dataclass(slots=True)
class _CachedSettings:
    settings: WebhookSettings | None
    until: float


class Receiver:
    """Verifies webhooks and writes notifications.

    :param conn_ids: ids of the connections that may receive webhooks. Other paths answer 404 without reading a connection.
    :param load: returns the settings of a connection id. It may block and may raise any exception.
    :param locate: opens the notification folder by its URI.
    :param clock: seconds since the epoch; tests pass their own. Default: the wall clock.
    """

    def __init__(
        self,
        conn_ids: Collection[str],
        load: Callable[[str], WebhookSettings],
        locate: Callable[[str], Location],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._conn_ids = frozenset(conn_ids)
        self._load = load
        self._locate = locate
        self._clock = clock
        self._cached: dict[str, _CachedSettings] = {}
        self._keys: dict[str, KeySet] = {}
        self._accepted: OrderedDict[tuple[str, str | None, JobEnded], None] = OrderedDict()
        self._swept = time.monotonic() - _SWEEP_EVERY
        self._sweeping: asyncio.Task[None] | None = None
        self.app = Starlette(routes=[Route("/{conn_id}", self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        conn_id = request.path_params["conn_id"]
        if conn_id not in self._conn_ids:
            return Response(status_code=404)
        try:
            body = await asyncio.wait_for(_limited_body(request), BODY_TIMEOUT)
        except ClientDisconnect:
            return Response(status_code=400)
        except asyncio.TimeoutError:
            return Response(status_code=408, headers={"Connection": "close"})
        if body is None:
            return Response(status_code=413)
        settings = await self._settings(conn_id)
        if settings is None:
            return Response(status_code=401)
        try:
            proof = await self._verify(settings, request, body)
        except SignatureError as reason:
            log.info("A webhook for connection %s was refused: %s.", conn_id, reason)
            return Response(status_code=401)
        except KeysUnavailableError as trouble:
            log.warning("A webhook for connection %s cannot be verified: %s.", conn_id, trouble)
            return Response(status_code=503)
        return Response(status_code=await self._take(conn_id, settings, proof, read_event(body)))

    async def _settings(self, conn_id: str) -> WebhookSettings | None:
        """None if webhooks cannot be verified; the log says why each time the settings are read."""
        cached = self._cached.get(conn_id)
        if cached is None or time.monotonic() >= cached.until:
            settings = await self._load_settings(conn_id)
            cached = self._cached[conn_id] = _CachedSettings(settings, time.monotonic() + _KEEP_SETTINGS)
        return cached.settings

    async def _load_settings(self, conn_id: str) -> WebhookSettings | None:
        try:
            settings = await asyncio.to_thread(self._load, conn_id)
        except Exception as error:  # anything that a secrets backend may raise
            log.warning("Webhooks for connection %s are refused: %s", conn_id, error)
            return None
        if settings.can_verify:
            if settings.folder is None:
                log.warning("Webhooks for connection %s have no effect: its extra has no webhook_folder.", conn_id)
            return settings
        log.warning(
            "Webhooks for connection %s are refused: its extra has neither webhook_signing_secret nor webhook_uri.", conn_id
        )
        return None

    async def _verify(self, settings: WebhookSettings, request: Request, body: bytes) -> Proof:
        headers = request.headers
        if not is_token(headers):
            return verify_standard(headers, body, settings.secrets, now=self._clock())
        if settings.audience is None:
            raise SignatureError("it has a token, but the connection has neither webhook_uri nor webhook_audience")
        keys = self._keys.get(settings.jwks_url)
        if keys is None:
            keys = self._keys[settings.jwks_url] = KeySet(settings.jwks_url)
        key = await keys.key(key_id_of(headers))
        if key is None:
            raise SignatureError("its token is signed with a key that the service does not have")
        return verify_token(
            headers,
            key,
            audience=settings.audience,
            issuer=settings.issuer,
            lifetime=settings.token_lifetime,
            now=self._clock(),
        )

    async def _take(self, conn_id: str, settings: WebhookSettings, proof: Proof, event: JobEnded | None) -> int:
        """Writes the notification. Returns the status of the answer."""
        if event is None or settings.folder is None:
            return 204
        accepted = (conn_id, proof.message_id, event)
        if accepted in self._accepted:
            return 204
        try:
            await asyncio.to_thread(self._notify, settings.folder, event)
        except Exception as error:
            log.warning(
                "%s has ended (%s), but the notification cannot be written to %s: %r",
                event.job,
                event.ending,
                settings.folder,
                error,
            )
            return 503
        log.info("%s has ended (%s), according to a webhook.", event.job, event.ending)
        self._accepted[accepted] = None
        if len(self._accepted) > _MAX_ACCEPTED:
            self._accepted.popitem(last=False)
        self._start_sweep_if_due(settings.folder)
        return 204

    def _notify(self, folder: str, event: JobEnded) -> None:
        NotificationFolder(self._locate(folder)).leave(event)

    def _start_sweep_if_due(self, folder: str) -> None:
        if time.monotonic() - self._swept >= _SWEEP_EVERY:
            self._swept = time.monotonic()
            self._sweeping = asyncio.create_task(self._sweep(folder))

    async def _sweep(self, folder: str) -> None:
        try:
            await asyncio.to_thread(lambda: NotificationFolder(self._locate(folder)).sweep(now=dt.datetime.now(dt.timezone.utc)))
        except Exception as error:  # harmless: the folder only stays longer than necessary
            log.warning("Old notifications in %s cannot be removed: %r", folder, error)


async def _limited_body(request: Request) -> bytes | None:
    """The body, or None if it is larger than MAX_BODY."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or len(announced) > 9 or int(announced) > MAX_BODY:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)
