"""Files and cached contents that a request refers to. They must exist when the request is answered."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_gemini_batch.emulator.answers.request import (
    TOKENS_PER_MEDIA_PART,
    file_uris,
    modality_of,
    parse_request,
    tokens_in,
)
from airflow_gemini_batch.emulator.answers.response import token_counts
from airflow_gemini_batch.emulator.files.file_store import FileStore
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.refusals import Refusal
from airflow_gemini_batch.emulator.models.cache_store import CacheStore
from airflow_gemini_batch.emulator.proto_json import Json, get, get_text

#: A file of the Files API, by name or by URI on any host. Other URIs (https, gs) are not checked.
_FILE = re.compile(r"(?:https?://[^/]+/v\d\w*/)?files/([^/]+)")

_PDF_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


class References:
    """Checks the references of requests."""

    def __init__(self, files: FileStore, caches: CacheStore) -> None:
        self._files = files
        self._caches = caches

    def refusal_for(self, request: Json, project: str, model: str, moment: int) -> Refusal | None:
        """Why the request cannot be answered at `moment` (nanoseconds), or None."""
        if refusal := self.file_refusal_for(request, project, moment):
            return refusal
        cache = get_text(request, "cachedContent")
        return self._cache_refusal(request, cache, project, model, moment) if cache else None

    def file_refusal_for(self, request: Json, project: str, moment: int) -> Refusal | None:
        """Why a file of the request cannot be used at `moment`, or None."""
        for uri in file_uris(request):
            if found := _FILE.fullmatch(uri):
                file = self._files.find(project, found[1], moment)
                if file is None:
                    return refusals.file_forbidden(found[1])
                if file.state(moment) != "ACTIVE":
                    return refusals.file_not_active(found[1])
        return None

    def count_tokens(self, request: Json, project: str, moment: int) -> Json:
        """A CountTokensResponse for the texts, media and stored files of a request. Files that do not exist count as media."""
        counts = parse_request(request).tokens_by_modality()
        for uri in file_uris(request):
            found = _FILE.fullmatch(uri)
            file = self._files.find(project, found[1], moment) if found else None
            if file is not None:
                modality = modality_of(file.mime_type)
                tokens = _tokens_in(file.mime_type, self._files.path(file))
                counts[modality] = counts.get(modality, 0) + tokens - TOKENS_PER_MEDIA_PART
        return token_counts(counts)

    def _cache_refusal(self, request: Json, cache: str, project: str, model: str, moment: int) -> Refusal | None:
        cached = self._caches.model_of(project, cache, moment)
        if cached is None:
            return refusals.cache_forbidden()
        if cached != model:
            return refusals.cache_of_other_model(model, cached)
        if any(get(request, name) for name in ("systemInstruction", "tools", "toolConfig")):
            return refusals.cache_has_its_own()
        return None


def _tokens_in(mime_type: str, path: Path) -> int:
    """Texts by their size, PDF by their pages, anything else as one small image."""
    if mime_type.startswith("text/") or mime_type == "application/json":
        return tokens_in(path.stat().st_size)
    if mime_type == "application/pdf":
        return TOKENS_PER_MEDIA_PART * max(1, len(_PDF_PAGE.findall(path.read_bytes())))
    return TOKENS_PER_MEDIA_PART
