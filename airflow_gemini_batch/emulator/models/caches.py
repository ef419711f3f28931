"""Cached contents. Only their expiry can be changed after they are created."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_gemini_batch.emulator.answers.request import file_uris
from airflow_gemini_batch.emulator.clock import HOUR, SECOND, timestamp_us
from airflow_gemini_batch.emulator.http import refusals
from airflow_gemini_batch.emulator.http.bodies import json_response, page_size_of, read_object
from airflow_gemini_batch.emulator.http.callers import API_VERSIONS, project_of, version_of
from airflow_gemini_batch.emulator.http.page_tokens import next_token, open_token
from airflow_gemini_batch.emulator.models.cache_store import CacheStore
from airflow_gemini_batch.emulator.models.names import known_model, min_cache_tokens
from airflow_gemini_batch.emulator.models.references import References
from airflow_gemini_batch.emulator.proto_json import Json, get_text
from airflow_gemini_batch.emulator.service import Service, new_id

_TTL = re.compile(r"(\d{1,9}(?:\.\d+)?)s")
#: The largest integer of SQLite, in the year 2262, which the clock cannot reach.
_LAST_MOMENT = 2**63 - 1
_FRACTION = re.compile(r"\.\d+(?=Z|[+-]|$)")


class CachesApi:
    """create, get, list, patch and delete."""

    def __init__(self, service: Service, caches: CacheStore, references: References) -> None:
        self._service = service
        self._caches = caches
        self._references = references
        self._store = service.store

    def routes(self) -> list[Route]:
        found = []
        for version in API_VERSIONS:
            for path, method, handler in (
                ("", "POST", self._create),
                ("", "GET", self._list),
                ("/{id}", "GET", self._get),
                ("/{id}", "PATCH", self._change),
                ("/{id}", "DELETE", self._delete),
            ):
                found.append(Route(f"/{version}/cachedContents{path}", handler, methods=[method]))
        return found

    async def _create(self, request: Request) -> Response:
        project = project_of(request, self._service)
        body = await read_object(request)
        named = get_text(body, "model")
        model = known_model(
            named if "/" in named else f"models/{named}",
            version_of(request),
            "createCachedContent",
            self._service.options.models,
        )
        now = self._service.clock.now()
        shown: Json = {"model": model, "usageMetadata": {"totalTokenCount": self._checked_tokens(body, model, project, now)}}
        if display_name := get_text(body, "displayName"):
            shown["displayName"] = display_name
        cache_id = new_id(20)
        expires = _expires(body, now) or now + HOUR
        self._store.insert(
            "caches", id=cache_id, project=project, shown=json.dumps(shown), created_ns=now, updated_ns=now, expires_ns=expires
        )
        return json_response(_resource(self._find(project, cache_id)))

    def _checked_tokens(self, body: Json, model: str, project: str, now: int) -> int:
        """The size of the content. Raises a Refusal if it has unusable files or is too small for the model."""
        for uri in file_uris(body):
            if uri.startswith("gs://"):
                raise refusals.invalid_argument(f"Invalid or unsupported file uri: {uri}")
        if refusal := self._references.file_refusal_for(body, project, now):
            raise refusal
        total = int(self._references.count_tokens(body, project, now)["totalTokens"])
        if total < (least := min_cache_tokens(model)):
            raise refusals.cache_too_small(total, least)
        return total

    async def _list(self, request: Request) -> Response:
        project = project_of(request, self._service)
        size = page_size_of(request, default=50, most=1000)
        page, (after,) = open_token(request.query_params.get("pageToken"), start=(0,))
        rows = self._store.rows(
            "SELECT * FROM caches WHERE project = ? AND expires_ns > ? AND number > ? ORDER BY number LIMIT ?",
            *(project, self._service.clock.now(), after, size + 1),
        )
        body: Json = {"cachedContents": [_resource(row) for row in rows[:size]]} if rows else {}
        if len(rows) > size:
            body["nextPageToken"] = next_token(page + 1, (rows[size - 1]["number"],))
        return json_response(body)

    async def _get(self, request: Request) -> Response:
        return json_response(_resource(self._requested(request)))

    async def _change(self, request: Request) -> Response:
        cache = self._requested(request)
        now = self._service.clock.now()
        expires = _expires(await read_object(request), now)
        if expires is None:
            raise refusals.invalid_argument("Only ttl and expireTime of a CachedContent can be updated.")
        self._store.run("UPDATE caches SET expires_ns = ?, updated_ns = ? WHERE id = ?", expires, now, cache["id"])
        return json_response(_resource(self._requested(request)))

    async def _delete(self, request: Request) -> Response:
        self._store.run("DELETE FROM caches WHERE id = ?", self._requested(request)["id"])
        return json_response({})

    def _requested(self, request: Request) -> sqlite3.Row:
        return self._find(project_of(request, self._service), request.path_params["id"])

    def _find(self, project: str, cache_id: str) -> sqlite3.Row:
        row = self._caches.find(project, cache_id, self._service.clock.now())
        if row is None:
            raise refusals.cache_forbidden()
        return row


def _expires(body: Json, now: int) -> int | None:
    expires = None
    if ttl := get_text(body, "ttl"):
        found = _TTL.fullmatch(ttl)
        if found is None:
            raise refusals.invalid_argument(f"Illegal duration format; duration must end with 's': {ttl!r}.")
        expires = now + int(float(found[1]) * SECOND)
    elif time := get_text(body, "expireTime"):
        try:
            # Python 3.10 parses only three or six digits of a fraction, so it is dropped.
            expires = int(datetime.fromisoformat(_FRACTION.sub("", time).replace("Z", "+00:00")).timestamp() * SECOND)
        except ValueError:
            raise refusals.invalid_argument(f"Invalid expireTime: {time!r}.") from None
    if expires is not None and expires <= now:
        raise refusals.invalid_argument("The CachedContent must expire in the future.")
    return None if expires is None else min(expires, _LAST_MOMENT)


def _resource(row: sqlite3.Row) -> Json:
    times = {f"{name}Time": timestamp_us(row[f"{name}d_ns"]) for name in ("create", "update")}
    return {
        "name": f"cachedContents/{row['id']}", **json.loads(row["shown"]), **times, "expireTime": timestamp_us(row["expires_ns"])
    }  # fmt: skip
