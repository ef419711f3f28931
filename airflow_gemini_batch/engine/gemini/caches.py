"""Cached content: a prefix that many requests share, paid for once and kept for as long as asked.

What must stay true: no job is created whose cache would end before the job should; its rows would all fail, one by one.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google import genai
from google.genai import types

from airflow_gemini_batch.engine.errors import InputError, RefusedError
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.gemini.transport import translated
from airflow_gemini_batch.engine.run.layout import Manifest

#: The service means to finish a job within 24 hours (Batch API page).
WINDOW = dt.timedelta(hours=24)

#: A job that has not ended after 48 hours expires; two more for building and uploading.
DEFAULT_TTL = dt.timedelta(hours=50)


@dataclass(frozen=True, slots=True)
class Cache:
    """A cached content. ``expires`` is None where the service is silent.

    :param name: ``cachedContents/…``, for ``config={"cached_content": name}``.
    :param model: without ``models/``.
    """

    name: str
    model: str
    expires: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Caches:
    """The caches of the key's project."""

    endpoint: Endpoint

    def create(
        self,
        *,
        model: str,
        contents: Any = None,
        system_instruction: Any = None,
        ttl: dt.timedelta = DEFAULT_TTL,
        display_name: str | None = None,
    ) -> str:
        """Keep a shared prefix at the service, which bills it by the hour. Returns its name.

        :param contents, system_instruction: as google-genai takes them: texts, parts, uploaded files.
        :param ttl: how long it lives; below 24 hours, the time that a job may take, it is refused.
        """
        if contents is None and system_instruction is None:
            raise InputError("There is nothing to cache: give contents, a system_instruction, or both.")
        once = types.HttpOptions(
            retry_options=types.HttpRetryOptions(attempts=1)
        )  # a second one would be billed beside the first
        config = types.CreateCachedContentConfig(
            contents=contents,
            system_instruction=system_instruction,
            ttl=_seconds(ttl),
            display_name=display_name,
            http_options=once,
        )
        with self._sdk() as sdk, translated(f"create a cache for {model}"):
            return sdk.caches.create(model=model, config=config).name or ""

    def get(self, name: str) -> Cache:
        """Raises RefusedError for a cache that is gone, or another project's."""
        with self._sdk() as sdk, translated(f"look at {name}"):
            found = sdk.caches.get(name=name)
        return Cache(found.name or name, (found.model or "").removeprefix("models/"), found.expire_time)

    def extend(self, name: str, ttl: dt.timedelta = DEFAULT_TTL) -> None:
        """Let it live for so long from now on."""
        with self._sdk() as sdk, translated(f"extend {name}"):
            sdk.caches.update(name=name, config=types.UpdateCachedContentConfig(ttl=_seconds(ttl)))

    def delete(self, name: str) -> None:
        """End it, and what it costs. No error when it is gone."""
        try:
            with self._sdk() as sdk, translated(f"delete {name}"):
                sdk.caches.delete(name=name)
        except RefusedError as error:
            if error.code not in (403, 404):
                raise

    @contextmanager
    def _sdk(self) -> Iterator[genai.Client]:
        with genai.Client(api_key=self.endpoint.key(), vertexai=False, http_options=self.endpoint.http_options()) as sdk:
            yield sdk


def require_lasting(manifest: Manifest, endpoint: Endpoint, *, now: float | None = None) -> None:
    """Raise InputError when the run's requests name a cache that is absent, another model's, or ends before a job should."""
    name = (manifest.request.get("request") or {}).get("cached_content")
    if not name:
        return
    try:
        cache = Caches(endpoint).get(name)
    except RefusedError as error:
        if error.code not in (403, 404):
            raise
        raise InputError(
            f"The run's config names {name}, which the service does not have, or not for this API key. No job was created. "
            "A cache has one name for its whole life: create another, and start anew with it at another destination."
        ) from error
    if problem := why_unfit(cache, manifest.model, now=time.time() if now is None else now):
        raise InputError(f"The run's config names {name}, {problem} No job was created.")


def why_unfit(cache: Cache, model: str, *, now: float) -> str | None:
    """Why a job that is created now cannot rely on the cache; None when it can."""
    if cache.model and cache.model != model.removeprefix("models/"):
        return f"a cache of {cache.model}, and the run asks {model}: a cache serves its own model alone."
    needed = dt.datetime.fromtimestamp(now, dt.timezone.utc) + WINDOW
    if cache.expires is not None and cache.expires < needed:
        return (
            f"which expires at {cache.expires:%Y-%m-%d %H:%M} UTC, and a job may take until {needed:%Y-%m-%d %H:%M} UTC. "
            f"Let it live longer (Caches.extend, or GeminiHook.extend_cache) and run the same again."
        )
    return None


def _seconds(ttl: dt.timedelta) -> str:
    if ttl < WINDOW:
        raise InputError(f"ttl is {ttl}; a batch job may take {WINDOW}, so its cache has to live at least as long.")
    return f"{math.ceil(ttl.total_seconds())}s"
