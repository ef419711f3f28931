"""Files and cached contents that a request refers to. They must exist when the request is answered."""

from __future__ import annotations

import re

from airflow_gemini_batch.emulator.answers.request import file_uris
from airflow_gemini_batch.emulator.files.file_store import FileStore
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.refusals import Refusal
from airflow_gemini_batch.emulator.models.caches import CacheStore
from airflow_gemini_batch.emulator.proto_json import Json, get, get_text

#: A file of the Files API, by name or by URI on any host. Other URIs (https, gs) are not checked.
_FILE = re.compile(r"(?:https?://[^/]+/v\d\w*/)?files/([^/]+)")


class References:
    """Checks the references of requests."""

    def __init__(self, files: FileStore, caches: CacheStore) -> None:
        self._files = files
        self._caches = caches

    def refusal_for(self, request: Json, project: str, model: str, moment: int) -> Refusal | None:
        """Why the request cannot be answered at `moment` (nanoseconds), or None."""
        for uri in file_uris(request):
            if found := _FILE.fullmatch(uri):
                file = self._files.find(project, found[1], moment)
                if file is None:
                    return refusals.file_forbidden(found[1])
                if file.state(moment) != "ACTIVE":
                    return refusals.file_not_active(found[1])
        cache = get_text(request, "cachedContent")
        return self._cache_refusal(request, cache, project, model, moment) if cache else None

    def _cache_refusal(self, request: Json, cache: str, project: str, model: str, moment: int) -> Refusal | None:
        cached = self._caches.model_of(project, cache, moment)
        if cached is None:
            return refusals.cache_forbidden()
        if cached != model:
            return refusals.cache_of_other_model(model, cached)
        if any(get(request, name) for name in ("systemInstruction", "tools", "toolConfig")):
            return refusals.cache_has_its_own()
        return None
