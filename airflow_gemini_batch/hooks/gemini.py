"""The connection to the Gemini API: an Airflow connection becomes the engine's endpoint.

The API key is the connection's password and nothing else. It is masked in logs before any other code gets it, and it leaves this
module only inside an ``Endpoint``, whose repr does not show it.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection
from airflow.sdk.log import mask_secret

from airflow_gemini_batch._compat import AirflowNotFoundException, amask_secret
from airflow_gemini_batch.engine.errors import ApiKeyError, GeminiBatchError, InputError
from airflow_gemini_batch.engine.project_limits import LIMITS_FIELDS, ProjectLimits
from airflow_gemini_batch.webhooks.settings import WebhookSettings

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from google.genai import types

    from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
    from airflow_gemini_batch.engine.gemini.files import RemoteFile
    from airflow_gemini_batch.engine.gemini.inventory import DeleteOutcome
    from airflow_gemini_batch.engine.gemini.jobs import Job
    from airflow_gemini_batch.engine.gemini.webhooks import Webhooks

#: The fields of the connection's extra that are read, here or by the receiver of webhooks. Others are named in a warning.
EXTRA_FIELDS = (
    "api_version",
    "request_timeout",
    "webhook_signing_secret",
    "webhook_folder",
    "webhook_uri",
    "webhook_audience",
    "webhook_issuer",
    "webhook_jwks_url",
    "webhook_token_lifetime",
    *LIMITS_FIELDS,
)


class GeminiHook(BaseHook):
    """Call the Gemini API with an Airflow connection of type ``gemini``. docs/connections.md describes every field.

    * *password*: the API key. Default: ``GOOGLE_API_KEY``, then ``GEMINI_API_KEY``, from the environment of the calling process.
    * *host*: the base URL, with or without a scheme. Default: Google's. *port* and *schema* (``http`` or ``https``) complete a
      host that lacks them.
    * *extra*: a JSON object with any of ``EXTRA_FIELDS``. ``api_version`` is part of every URL (default ``v1beta``, which the
      samples of the Batch API page use). ``request_timeout`` is how many seconds one HTTP request may wait without receiving
      a byte (default 60); ``BatchOptions.timeout`` is how long one try waits for its jobs. An unknown field is ignored, with one
      warning per hook.

    The methods raise InputError when the connection is missing or invalid, ApiKeyError when there is no key or the service
    rejects it, and ServiceError or another subclass of it when the service refuses or does not answer.

    :param gemini_conn_id: the connection's id. Default: ``gemini_default``.
    """

    conn_name_attr = "gemini_conn_id"
    default_conn_name = "gemini_default"
    conn_type = "gemini"
    hook_name = "Gemini"

    def __init__(self, gemini_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gemini_conn_id = gemini_conn_id
        self._has_warned = False

    @cached_property
    def endpoint(self) -> Endpoint:
        """Base URL, key and HTTP settings of the connection.

        Raises InputError when the connection is missing or has an invalid field, ApiKeyError when there is no key.
        """
        try:
            connection = self.get_connection(self.gemini_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None
        extra = self._extra(connection)
        mask_secret(extra)  # masks the values of fields with a sensitive name, such as webhook_signing_secret
        endpoint, key = self._endpoint(connection, extra)
        mask_secret(key)
        return endpoint

    @property
    def where(self) -> str:
        """The connection and, once it has been read, its base URL, for messages. Never a key, or user and password of a URL."""
        endpoint: Endpoint | None = self.__dict__.get("endpoint")
        if endpoint is None:
            return f"connection {self.gemini_conn_id!r}"
        from airflow_gemini_batch.engine.gemini.client import GOOGLE

        url = re.sub(r"//[^/@]*@", "//", endpoint.base_url or GOOGLE)
        return f"connection {self.gemini_conn_id!r}, {url}"

    async def aendpoint(self) -> Endpoint:
        """As ``endpoint``, from inside an event loop, without blocking it."""
        connection = await self._aconnection()
        # In a thread, because this imports the SDK, which takes a second.
        endpoint, key = await asyncio.to_thread(self._endpoint, connection, self._extra(connection))
        await amask_secret(key)
        return endpoint

    async def awebhook_settings(self) -> WebhookSettings:
        """The webhook settings of the connection; without signing secrets, and with a warning, if one of them is invalid."""
        connection = await self._aconnection()
        extra = self._extra(connection)
        try:
            return WebhookSettings.of_extra(extra)
        except InputError as error:
            self.log.warning("Connection %r: %s", self.gemini_conn_id, error)
            return WebhookSettings.of_extra({**extra, "webhook_signing_secret": None, "webhook_token_lifetime": None})

    @property
    def webhooks(self) -> Webhooks:
        """The webhooks that are registered for the key's project."""
        from airflow_gemini_batch.engine.gemini.webhooks import Webhooks

        return Webhooks(self.endpoint)

    @cached_property
    def client(self) -> GeminiClient:
        """A client that is open as long as the hook exists. To close it earlier, use ``with GeminiClient(hook.endpoint)``."""
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        return GeminiClient(self.endpoint)

    def get_conn(self) -> GeminiClient:
        """Airflow's name for :attr:`client`."""
        return self.client

    def test_connection(self) -> tuple[bool, str]:
        """List one page of batch jobs, which costs nothing. Returns whether that worked, and a message for the user."""
        from airflow_gemini_batch.engine.gemini.client import GeminiClient

        try:
            with GeminiClient(self.endpoint) as client:
                client.page_of_jobs()
        except GeminiBatchError as error:
            return False, str(error)
        return True, "Connected. The key can list batch jobs."

    def list_jobs(
        self,
        *,
        state: str | Sequence[str] | None = None,
        display_name: str | None = None,
        model: str | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
    ) -> list[Job]:
        """The batch jobs of the key's project that match all arguments, newest first. By default: all of them.

        The service cannot filter, so the whole listing is read, one request per hundred jobs, and filtered here.

        :param state: one state or several, in any case: PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED, UNKNOWN (a
            state that this version does not know), or ACTIVE for every job that has not ended.
        :param display_name: pattern with ``*`` and ``?`` for the whole display name, case-sensitive.
        :param model: pattern with ``*`` and ``?`` for the whole model name, with or without ``models/``.
        :param created_after: datetime, ISO 8601 text (UTC unless it has an offset), or an age such as ``36h`` or ``7d``;
            inclusive. A job without a creation time does not match.
        :param created_before: the same, exclusive.

        Returns an empty list when nothing matches. Raises InputError for an unknown state or a time that cannot be parsed, and
        ServiceError when the listing cannot be read to its end.
        """
        from airflow_gemini_batch.engine.gemini.inventory import JobFilter, find_jobs

        wanted = JobFilter.of(
            state=state,
            display_name=display_name,
            model=model,
            created_after=created_after,
            created_before=created_before,
        )
        return find_jobs(self.client, wanted)

    def get_job(self, name: str) -> Job:
        """The job as it is now.

        :param name: ``batches/<id>``.

        Raises NotFoundError when the service does not find the job: it was deleted, or belongs to another project.
        """
        return self.client.get_job(name)

    def cancel_job(self, name: str) -> None:
        """Ask the service to cancel the job. It may still succeed. A job that does not exist is not an error.

        :param name: ``batches/<id>``.
        """
        self.client.cancel_job(name)

    def delete_job(self, name: str, *, cancel: bool = False) -> DeleteOutcome:
        """Remove an ended job from the service's listing. An active job is never deleted: that might hide it without stopping it.

        :param name: ``batches/<id>``.
        :param cancel: whether to cancel an active job first, and wait up to 30 seconds for its end. Default: False, because
            cancelling loses the answers that the job would still have given.

        Returns ``DELETED``, ``GONE`` when the service does not find the job, or ``ENDING`` when the cancelled job has not ended
        in time; it then still exists. Raises InputError for an invalid name or an active job without ``cancel``, and ServiceError
        when the service refuses or does not answer.
        """
        from airflow_gemini_batch.engine.gemini.inventory import delete_job

        return delete_job(self.client, name, cancel=cancel)

    def list_files(self, display_name: str | None = None) -> list[RemoteFile]:
        """The files that the service holds for the key's project, newest first.

        :param display_name: pattern with ``*`` and ``?`` for the whole display name, case-sensitive. Default: every file.
        """
        from airflow_gemini_batch.engine.gemini.inventory import find_files

        return find_files(self.client, display_name)

    def delete_file(self, name: str) -> DeleteOutcome:
        """Delete a file, so that it no longer counts against the project's 20 GB of storage.

        :param name: ``files/<id>``.

        Returns ``DELETED``, ``GONE``, or ``UNDELETABLE`` for a job's output, which only the service removes, about 48 hours after
        the job's end.
        """
        from airflow_gemini_batch.engine.gemini.inventory import delete_file

        return delete_file(self.client, name)

    def create_cache(
        self,
        *,
        model: str,
        contents: types.ContentListUnion | types.ContentListUnionDict | None = None,
        system_instruction: types.ContentUnion | types.ContentUnionDict | None = None,
        ttl: timedelta | None = None,
        display_name: str | None = None,
    ) -> str:
        """Store a shared prefix at the service, which bills it by the hour until it expires or is deleted.

        :param model: with or without ``models/``; the cache works for this model only.
        :param contents: what google-genai accepts as contents: text, parts, uploaded files, or lists of these.
        :param system_instruction: text, or what google-genai accepts as one content.
        :param ttl: how long the cache exists, at least 24 hours. Default: 50 hours, because a job expires after 48 (Batch API
            page).
        :param display_name: shown in listings only. Default: none.

        Returns the name, ``cachedContents/<id>``, for ``config={"cached_content": name}`` of a ``GenerateRequest``. The create is
        sent once, because a second one would be billed too. Raises InputError when there is nothing to cache or the ttl is too
        short; RefusedError when the service refuses, for example because the prefix is too short; OutcomeUnknownError when it
        does not answer: a cache may exist then, which is billed until it expires.
        """
        from airflow_gemini_batch.engine.gemini.caches import DEFAULT_TTL, Caches

        return Caches(self.endpoint).create(
            model=model,
            contents=contents,
            system_instruction=system_instruction,
            ttl=DEFAULT_TTL if ttl is None else ttl,
            display_name=display_name,
        )

    def extend_cache(self, name: str, ttl: timedelta | None = None) -> None:
        """Set the cache's expiry.

        :param name: ``cachedContents/<id>``.
        :param ttl: how long the cache exists from now, at least 24 hours, else InputError. Default: 50 hours, as in
            ``create_cache``.
        """
        from airflow_gemini_batch.engine.gemini.caches import DEFAULT_TTL, Caches

        Caches(self.endpoint).extend(name, DEFAULT_TTL if ttl is None else ttl)

    def delete_cache(self, name: str) -> None:
        """Delete the cache, which ends its cost. A cache that the service does not find is not an error.

        :param name: ``cachedContents/<id>``.
        """
        from airflow_gemini_batch.engine.gemini.caches import Caches

        Caches(self.endpoint).delete(name)

    async def _aconnection(self) -> Connection:
        """The connection, looked up without blocking the event loop. Raises InputError when it is missing.

        A trigger that ``dag.test()`` or ``airflow tasks test`` runs has no asynchronous channel to the metadata database (Airflow
        3.3), so the asynchronous look-up finds connections of the environment only. The synchronous one, in a thread, finds all.
        """
        try:
            return await self.aget_connection(self.gemini_conn_id)
        except AirflowNotFoundException:
            pass
        try:
            return await asyncio.to_thread(self.get_connection, self.gemini_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None

    def _endpoint(self, connection: Connection, extra: dict[str, Any]) -> tuple[Endpoint, str]:
        """The endpoint, and its key, which the caller must mask."""
        from airflow_gemini_batch.engine.gemini.client import DEFAULT_API_VERSION, DEFAULT_REQUEST_TIMEOUT, Endpoint

        endpoint = Endpoint(
            api_key=connection.password or None,
            base_url=base_url(connection.host, connection.port, connection.schema),
            api_version=self._text(extra, "api_version") or DEFAULT_API_VERSION,
            request_timeout=self._seconds(extra, "request_timeout", DEFAULT_REQUEST_TIMEOUT),
            webhook_uri=self._text(extra, "webhook_uri"),
            limits=self._limits(extra),
        )
        try:
            return endpoint, endpoint.key()
        except ApiKeyError as error:
            raise ApiKeyError(f"Connection {self.gemini_conn_id!r}: {error}") from None

    def _extra(self, connection: Connection) -> dict[str, Any]:
        """The extra, parsed here: ``extra_dejson`` masks synchronously, which would block an event loop, and accepts any JSON."""
        try:
            extra = json.loads(connection.extra or "{}")
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            # The message does not quote the text, which may hold a secret.
            raise InputError(f"Connection {self.gemini_conn_id!r}: Extra must be a JSON object. Fix it or leave it empty.")
        self._warn_of_unknown(extra)
        return extra

    def _warn_of_unknown(self, extra: dict[str, Any]) -> None:
        """Name the fields that nothing reads, once per hook."""
        unknown = [name for name in extra if name not in EXTRA_FIELDS]
        if not unknown or self._has_warned:
            return
        self._has_warned = True
        self.log.warning(
            "Connection %r: unknown fields in its extra are ignored: %s. Known fields: %s.",
            self.gemini_conn_id,
            ", ".join(map(_with_hint, unknown)),
            ", ".join(EXTRA_FIELDS),
        )

    def _text(self, extra: dict[str, Any], name: str) -> str | None:
        value = extra.get(name)
        if value is not None and not isinstance(value, str):
            raise InputError(f"Connection {self.gemini_conn_id!r}: extra field {name} is {value!r}; expected text.")
        return (value or "").strip() or None

    def _seconds(self, extra: dict[str, Any], name: str, default: float) -> float:
        value = extra.get(name)
        if value in (None, ""):
            return default
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = 0.0
        if not 0.0 < seconds < float("inf"):
            raise InputError(f"Connection {self.gemini_conn_id!r}: extra field {name} is {value!r}; expected seconds above 0.")
        return seconds

    def _limits(self, extra: dict[str, Any]) -> ProjectLimits | None:
        try:
            return ProjectLimits.of_extra(extra)
        except InputError as error:
            raise InputError(f"Connection {self.gemini_conn_id!r}: {error}") from None

    def _missing(self) -> InputError:
        name = self.gemini_conn_id
        return InputError(
            f"Airflow has no connection {name!r}. Create it: airflow connections add {name} --conn-type gemini "
            f"--conn-password <API key>, or set the environment variable AIRFLOW_CONN_{name.upper()}="
            '\'{"conn_type": "gemini", "password": "<API key>"}\' for every Airflow process.'
        )


def base_url(host: str | None, port: int | None, schema: str | None) -> str | None:
    """The base URL from a connection's fields; None for Google's. A port in the host overrides the port field."""
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


def _with_hint(name: str) -> str:
    close = difflib.get_close_matches(name, EXTRA_FIELDS, n=1)
    return f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name)
