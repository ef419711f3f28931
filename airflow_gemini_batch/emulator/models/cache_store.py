"""Cached contents in the database."""

from __future__ import annotations

import json
import sqlite3

from airflow_gemini_batch.emulator.service import Service


class CacheStore:
    """Caches in the database. Expired caches are not returned."""

    def __init__(self, service: Service) -> None:
        self._store = service.store

    def find(self, project: str, cache_id: str, moment: int) -> sqlite3.Row | None:
        return self._store.row("SELECT * FROM caches WHERE id = ? AND project = ? AND expires_ns > ?", cache_id, project, moment)

    def model_of(self, project: str, name: str, moment: int) -> str | None:
        """The model of the cache, or None if the cache does not exist at `moment`."""
        found = self.find(project, name.removeprefix("cachedContents/"), moment)
        return None if found is None else str(json.loads(found["shown"])["model"])
