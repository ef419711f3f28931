"""The connection to the Gemini API: an Airflow connection becomes the engine's endpoint.

The API key is the connection's password and nothing else; it is masked before anyone else sees it, and it leaves this
module only inside an ``Endpoint``, whose repr does not show it.
"""

from __future__ import annotations

import asyncio
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection
from airflow.sdk.log import mask_secret

from airflow_gemini_batch._compat import AirflowNotFoundException, amask_secret
from airflow_gemini_batch.engine.errors import ApiKeyError, GeminiBatchError, InputError
from airflow_gemini_batch.webhooks.settings import WebhookSettings

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
    from airflow_gemini_batch.engine.gemini.files import RemoteFile
    from airflow_gemini_batch.engine.gemini.inventory import DeleteOutcome
    from airflow_gemini_batch.engine.gemini.jobs import Job
    from airflow_gemini_batch.engine.gemini.webhooks import Webhooks


class GeminiHook(BaseHook):
    """Talk to the Gemini API with an Airflow connection of type ``gemini``.

    The connection's fields: *password* is the API key (empty: ``GOOGLE_API_KEY``, then ``GEMINI_API_KEY`` from the environment
    of the process that calls); *host* the base URL, with or without a scheme (empty: Google's); *port* and *schema*
    (``http`` or ``https``) complete a host that lacks them; *extra* may hold ``api_version`` (default ``v1beta``) and
    ``timeout`` (seconds that one request may be silent, default 60), and what ``docs/webhooks.md`` says of webhooks.

    :param gemini_conn_id: The connection's id. Default: ``gemini_default``.
    """

    conn_name_attr = "gemini_conn_id"
    default_conn_name = "gemini_default"
    conn_type = "gemini"
    hook_name = "Gemini"

    def __init__(self, gemini_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gemini_conn_id = gemini_conn_id

    @cached_property
    def endpoint(self) -> Endpoint:
        """Where the API is and who asks.

        Raises InputError when the connection is missing or says something impossible, ApiKeyError when there is no key.
        """
        try:
            connection = self.get_connection(self.gemini_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None
        extra = self._extra(connection)
        mask_secret(extra)  # of its fields those whose names say so, such as the signing secret of webhooks
        endpoint, key = self._endpoint(connection, extra)
        mask_secret(key)
        return endpoint

    async def aendpoint(self) -> Endpoint:
        """The same from inside an event loop, without blocking it."""
        try:
            connection = await self.aget_connection(self.gemini_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None
        # In a thread, which then is what imports the SDK: that takes a second.
        endpoint, key = await asyncio.to_thread(self._endpoint, connection, self._extra(connection))
        await amask_secret(key)
        return endpoint

    async def awebhook_settings(self) -> WebhookSettings:
        """What the connection says of webhooks, without the signing secrets where one of them is none."""
        try:
            connection = await self.aget_connection(self.gemini_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None
        extra = self._extra(connection)
        try:
            return WebhookSettings.of_extra(extra)
        except InputError as error:
            self.log.warning("Connection %r: %s", self.gemini_conn_id, error)
            return WebhookSettings.of_extra({**extra, "webhook_signing_secret": None})

    @property
    def webhooks(self) -> Webhooks:
        """The webhooks that are registered for the key's project."""
        from airflow_gemini_batch.engine.gemini.webhooks import Webhooks

        return Webhooks(self.endpoint)

    @cached_property
    def client(self) -> GeminiClient:
        """A client that lives as long as the hook. Where it can be closed, prefer ``with GeminiClient(hook.endpoint)``."""
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        return GeminiClient(self.endpoint)

    def get_conn(self) -> GeminiClient:
        """Airflow's name for :attr:`client`."""
        return self.client

    def test_connection(self) -> tuple[bool, str]:
        """Ask for one page of batch jobs, which costs nothing."""
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        try:
            with GeminiClient(self.endpoint) as client:
                some_job = next(client.list_jobs(), None)
        except GeminiBatchError as error:
            return False, str(error)
        return True, "The key is good" + (": it sees batch jobs." if some_job else "; it sees no batch job yet.")

    def list_jobs(self, **wanted: Any) -> list[Job]:
        """Every job that is meant, newest first. The listing is read to its end and filtered here.

        :param wanted: ``state``, ``display_name``, ``model``, ``created_after``, ``created_before``, as in
            ``engine.inventory.JobFilter.of``.
        """
        from airflow_gemini_batch.engine.gemini.inventory import JobFilter, find_jobs

        return find_jobs(self.client, JobFilter.of(**wanted))

    def get_job(self, name: str) -> Job:
        """One job as it is now. Raises NotFoundError: gone, or another project's."""
        return self.client.get_job(name)

    def cancel_job(self, name: str) -> None:
        """Ask for a job to end. It may still end well; no error when it is gone."""
        self.client.cancel_job(name)

    def delete_job(self, name: str, *, cancel: bool = False) -> DeleteOutcome:
        """Remove an ended job from the listing.

        :param cancel: end it first when it is active; without this, an active job is an InputError.
        """
        from airflow_gemini_batch.engine.gemini.inventory import delete_job

        return delete_job(self.client, name, cancel=cancel)

    def list_files(self, display_name: str | None = None) -> list[RemoteFile]:
        """Every file of the project, or those whose display name matches a pattern with ``*`` and ``?``; newest first."""
        from airflow_gemini_batch.engine.gemini.inventory import find_files

        return find_files(self.client, display_name)

    def delete_file(self, name: str) -> DeleteOutcome:
        """Give the storage of a file back. The output of a job is UNDELETABLE: only the service removes it."""
        from airflow_gemini_batch.engine.gemini.inventory import delete_file

        return delete_file(self.client, name)

    def create_cache(self, **what: Any) -> str:
        """Keep a shared prefix at the service for longer than a job may take; returns its name for ``cached_content``.

        :param what: ``model``, ``contents``, ``system_instruction``, ``ttl``, ``display_name``, as in
            ``engine.caches.Caches.create``.
        """
        from airflow_gemini_batch.engine.gemini.caches import Caches

        return Caches(self.endpoint).create(**what)

    def extend_cache(self, name: str, ttl: timedelta | None = None) -> None:
        """Let a cache live for so long from now on; default: 50 hours."""
        from airflow_gemini_batch.engine.gemini.caches import DEFAULT_TTL, Caches

        Caches(self.endpoint).extend(name, ttl or DEFAULT_TTL)

    def delete_cache(self, name: str) -> None:
        """End a cache, and what it costs. No error when it is gone."""
        from airflow_gemini_batch.engine.gemini.caches import Caches

        Caches(self.endpoint).delete(name)

    def _endpoint(self, connection: Connection, extra: dict[str, Any]) -> tuple[Endpoint, str]:
        """The endpoint with its key beside it, to be masked."""
        from airflow_gemini_batch.engine.gemini.client import DEFAULT_API_VERSION, DEFAULT_TIMEOUT, Endpoint

        endpoint = Endpoint(
            api_key=connection.password or None,
            base_url=base_url(connection.host, connection.port, connection.schema),
            api_version=extra.get("api_version") or DEFAULT_API_VERSION,
            timeout=self._seconds(extra.get("timeout"), DEFAULT_TIMEOUT),
            webhook_uri=str(extra.get("webhook_uri") or "").strip() or None,
        )
        try:
            return endpoint, endpoint.key()
        except ApiKeyError as error:
            raise ApiKeyError(f"Connection {self.gemini_conn_id!r}: {error}") from None

    def _extra(self, connection: Connection) -> dict[str, Any]:
        """Not ``extra_dejson``: it masks synchronously, which an event loop must not wait for, and takes any JSON for good."""
        try:
            extra = json.loads(connection.extra or "{}")
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            # The text itself is told to nobody: it may hold a secret.
            raise InputError(f"Connection {self.gemini_conn_id!r}: its extra is no JSON object. Mend it, or leave it empty.")
        return extra

    def _seconds(self, value: Any, default: float) -> float:
        if value in (None, ""):
            return default
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = 0.0
        if not 0.0 < seconds < float("inf"):
            raise InputError(f"Connection {self.gemini_conn_id!r}: extra field timeout is {value!r}; expected seconds above 0.")
        return seconds

    def _missing(self) -> InputError:
        name = self.gemini_conn_id
        variable = f"AIRFLOW_CONN_{name.upper()}"
        return InputError(
            f"There is no Airflow connection {name!r}. Create it: airflow connections add {name} --conn-type gemini "
            f"--conn-password <API key>, or set the environment variable {variable}="
            '\'{"conn_type": "gemini", "password": "<API key>"}\' for every Airflow process.'
        )


def base_url(host: str | None, port: int | None, schema: str | None) -> str | None:
    """The base URL that a connection's fields mean; None for Google's own.

    ``https`` unless the host or the schema says otherwise; a port in the host wins over the port field.
    """
    host = (host or "").strip().rstrip("/")
    if not host:
        return None
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = (schema or "https"), host
    authority, slash, path = rest.partition("/")
    if port and not re.search(r":\d+$", authority):
        authority = f"{authority}:{port}"
    return f"{scheme}://{authority}{slash}{path}"
