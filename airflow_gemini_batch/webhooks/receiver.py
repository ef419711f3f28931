"""The receiver of webhooks, as an ASGI application: ``POST /{conn_id}``.

It stands open to the internet. What must stay true: nothing is read beyond a small size, nothing is done before the signature
is verified, a sender learns nothing from a refusal, and no body of any shape makes an answer of 5xx. Only our own trouble does
(keys or storage that cannot be reached), so that the service tries again.
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

#: Bytes. Payloads are thin, a few hundred; user metadata may make them longer.
MAX_BODY = 64 * 1024

#: Seconds for which a connection's settings are kept: a burst of webhooks is one look at the connection.
_KEEP_SETTINGS = 30.0
_SWEEP_EVERY = 3600.0

#: Ids of webhooks that have been taken, so that most duplicates cost nothing. The knock itself stands any number of them.
_MOST_IDS = 10_000


@dataclass(slots=True)
class _Known:
    settings: WebhookSettings | None
    until: float


class Receiver:
    """Verifies webhooks and leaves knocks.

    :param conn_ids: connections that webhooks may be for; any other path is not found, without asking Airflow for it.
    :param load: the settings of a connection; it may block, and may raise whatever it likes.
    :param locate: finds the knock folder.
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
        self._known: dict[str, _Known] = {}
        self._keys: dict[str, KeySet] = {}
        self._taken: OrderedDict[tuple[str, str | None, JobEnded], None] = OrderedDict()
        self._swept = time.monotonic() - _SWEEP_EVERY
        self._sweeping: asyncio.Task[None] | None = None
        self.app = Starlette(routes=[Route("/{conn_id}", self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        conn_id = request.path_params["conn_id"]
        if conn_id not in self._conn_ids:
            return Response(status_code=404)
        try:
            body = await _limited_body(request)
        except ClientDisconnect:
            return Response(status_code=400)
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
        """None where webhooks cannot be verified; the log says why, once in a while."""
        known = self._known.get(conn_id)
        if known is None or time.monotonic() >= known.until:
            known = self._known[conn_id] = _Known(await self._loaded(conn_id), time.monotonic() + _KEEP_SETTINGS)
        return known.settings

    async def _loaded(self, conn_id: str) -> WebhookSettings | None:
        try:
            settings = await asyncio.to_thread(self._load, conn_id)
        except Exception as error:  # also of a secrets backend, of which we know nothing
            log.warning("Webhooks for connection %s are refused: %s", conn_id, error)
            return None
        if settings.can_verify:
            if settings.folder is None:
                log.warning("Webhooks for connection %s wake nobody: its extra has no webhook_folder.", conn_id)
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
            raise SignatureError("it has a token, and no webhook_uri or webhook_audience says whom tokens should be for")
        keys = self._keys.get(settings.jwks_url)
        if keys is None:
            keys = self._keys[settings.jwks_url] = KeySet(settings.jwks_url)
        key = await keys.key(key_id_of(headers))
        if key is None:
            raise SignatureError("its token is signed with a key that the service does not have")
        return verify_token(headers, key, audience=settings.audience, issuer=settings.issuer, now=self._clock())

    async def _take(self, conn_id: str, settings: WebhookSettings, proof: Proof, event: JobEnded | None) -> int:
        """The status of the answer."""
        if event is None or settings.folder is None:
            return 204
        ticket = (conn_id, proof.message_id, event)
        if ticket in self._taken:
            return 204
        try:
            await asyncio.to_thread(self._knock, settings.folder, event)
        except Exception as error:
            log.warning(
                "%s has ended (%s), and no word of it can be left in %s: %r", event.job, event.ending, settings.folder, error
            )
            return 503
        log.info("%s has ended (%s), says a webhook.", event.job, event.ending)
        self._taken[ticket] = None
        if len(self._taken) > _MOST_IDS:
            self._taken.popitem(last=False)
        self._sweep_at_times(settings.folder)
        return 204

    def _knock(self, folder: str, event: JobEnded) -> None:
        NotificationFolder(self._locate(folder)).leave(event)

    def _sweep_at_times(self, folder: str) -> None:
        if time.monotonic() - self._swept >= _SWEEP_EVERY:
            self._swept = time.monotonic()
            self._sweeping = asyncio.create_task(self._sweep(folder))

    async def _sweep(self, folder: str) -> None:
        try:
            await asyncio.to_thread(lambda: NotificationFolder(self._locate(folder)).sweep(now=dt.datetime.now(dt.timezone.utc)))
        except Exception as error:  # the folder is only longer than it need be
            log.warning("Old knocks in %s cannot be removed: %r", folder, error)


async def _limited_body(request: Request) -> bytes | None:
    """None when there is more of it than any webhook has."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or len(announced) > 9 or int(announced) > MAX_BODY:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)
