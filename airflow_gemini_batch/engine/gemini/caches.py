"""Cached content: a prefix that many requests share, stored at the service for a time that the caller chooses.

One rule must not be relaxed: no job is created whose cache would expire before the job should have ended, because all its rows
would fail, one by one.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google import genai
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError, RefusedError
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.gemini.transport import hooked_client, translated

#: The service aims to finish a job within 24 hours (Batch API page).
WINDOW = dt.timedelta(hours=24)

#: A job that has not ended after 48 hours expires (Batch API page); two more hours are for building and uploading.
DEFAULT_TTL = dt.timedelta(hours=50)


@dataclass(frozen=True, slots=True)
class Cache:
    """One cached content.

    :param name: ``cachedContents/…``, for ``config={"cached_content": name}``.
    :param model: without ``models/``; only requests to this model can use the cache.
    :param expires: aware datetime; None where the service does not give it.
    """

    name: str
    model: str
    expires: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Caches:
    """The caches of the API key's project.

    Every method raises ServiceError, or a subclass of it, when the service refuses or does not answer.
    """

    endpoint: Endpoint

    def create(
        self,
        *,
        model: str,
        contents: types.ContentListUnion | types.ContentListUnionDict | None = None,
        system_instruction: types.ContentUnion | types.ContentUnionDict | None = None,
        ttl: dt.timedelta = DEFAULT_TTL,
        display_name: str | None = None,
    ) -> str:
        """Store a shared prefix at the service, which bills it by the hour until it expires or is deleted.

        :param model: with or without ``models/``; the cache works for this model only.
        :param contents: what google-genai accepts as contents: text, parts, uploaded files, or lists of these.
        :param system_instruction: text, or what google-genai accepts as one content.
        :param ttl: how long the cache exists. Default: 50 hours, because a job expires after 48; at least 24, the time that the
            service may take for a job (Batch API page).
        :param display_name: shown in listings only. Default: none.

        Returns the name, ``cachedContents/…``. Raises InputError when there is nothing to cache or the ttl is too short.
        The call is never repeated automatically: after an OutcomeUnknownError there may be a cache, which is billed.
        """
        if contents is None and system_instruction is None:
            raise InputError("There is nothing to cache: pass contents, a system_instruction, or both.")
        # As a dict, since the SDK's class is typed more narrowly than what it accepts.
        config: types.CreateCachedContentConfigDict = {
            "contents": contents,
            "system_instruction": system_instruction,
            "ttl": _seconds(ttl),
            "display_name": display_name,
            # One attempt: a repeated create makes a second cache, which is billed as well.
            "http_options": {"retry_options": {"attempts": 1}},
        }
        with self._sdk() as sdk, translated(f"create a cache for {model}"):
            return sdk.caches.create(model=model, config=config).name or ""

    def get(self, name: str) -> Cache:
        """The cache as it is now. Raises RefusedError (403 or 404) when it has expired, was deleted, or is another project's."""
        with self._sdk() as sdk, translated(f"get {name}"):
            found = sdk.caches.get(name=name)
        return Cache(found.name or name, (found.model or "").removeprefix("models/"), found.expire_time)

    def extend(self, name: str, ttl: dt.timedelta = DEFAULT_TTL) -> None:
        """Set the cache's expiry to ``ttl`` from now.

        :param ttl: at least 24 hours, else InputError. Default: 50 hours, as in ``create``.
        """
        with self._sdk() as sdk, translated(f"extend {name}"):
            sdk.caches.update(name=name, config=types.UpdateCachedContentConfig(ttl=_seconds(ttl)))

    def delete(self, name: str) -> None:
        """Delete the cache, which ends its cost. A cache that the service does not find (403 or 404) is not an error."""
        try:
            with self._sdk() as sdk, translated(f"delete {name}"):
                sdk.caches.delete(name=name)
        except RefusedError as error:
            if error.code not in (403, 404):
                raise

    @contextmanager
    def _sdk(self) -> Iterator[genai.Client]:
        with hooked_client(self.endpoint.url()) as http:
            options = self.endpoint.http_options(httpx_client=http)
            with genai.Client(api_key=self.endpoint.key(), vertexai=False, http_options=options) as sdk:
                yield sdk


def require_lasting(request: Mapping[str, Any], model: str, endpoint: Endpoint, *, now: float | None = None) -> None:
    """Raise InputError when a run's requests name a cache that a job which is created now cannot rely on.

    :param request: the request specification of the run's manifest.
    :param now: seconds since the epoch. Default: the current time.
    """
    name = (request.get("request") or {}).get("cached_content")
    if not name:
        return
    try:
        cache = Caches(endpoint).get(name)
    except RefusedError as error:
        if error.code not in (403, 404):
            raise
        raise InputError(
            f"The run's config names {name}, which does not exist or is not visible to this API key. No job was created. "
            "A cache cannot be created again under the same name: create another one and use it in a run at another destination."
        ) from error
    if problem := why_unfit(cache, model, now=time.time() if now is None else now):
        raise InputError(f"The run's config names {name}, {problem} No job was created.")


def why_unfit(cache: Cache, model: str, *, now: float) -> str | None:
    """Why a job that is created at ``now`` (seconds since the epoch) cannot rely on the cache; None when it can."""
    if cache.model and cache.model != model.removeprefix("models/"):
        return f"a cache of {cache.model}, but the run uses {model}: a cache works for its own model only."
    needed = dt.datetime.fromtimestamp(now, dt.timezone.utc) + WINDOW
    if cache.expires is not None and cache.expires < needed:
        return (
            f"which expires at {cache.expires:%Y-%m-%d %H:%M} UTC, but a job may take until {needed:%Y-%m-%d %H:%M} UTC. "
            f"Extend it (GeminiHook.extend_cache or Caches.extend), then call again with the same arguments to resume."
        )
    return None


def _seconds(ttl: dt.timedelta) -> str:
    if ttl < WINDOW:
        raise InputError(f"ttl is {ttl}; expected at least {WINDOW}, because a batch job may take that long.")
    return f"{math.ceil(ttl.total_seconds())}s"
