"""A record of what the emulator did, for tests to compare with what the caller believes.

Every create, upload, cancel, delete and refused create is an entry, and every API call is counted. An entry is committed in the
same transaction as the work it records, so every job has its entry.
"""

from __future__ import annotations

import json
from typing import Any

from airflow_gemini_batch.emulator.clock import Clock, timestamp_ns
from airflow_gemini_batch.emulator.store import Store


class Journal:
    """Entries and call counters. Both survive a restart."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def write(self, action: str, project: str, **entry: Any) -> int:
        """Writes an entry and returns its number. `action` is create, upload, cancel, delete or refuse."""
        return self._store.insert("journal", time_ns=self._clock.now(), action=action, project=project, entry=json.dumps(entry))

    def record_answer(self, number: int, answered: str) -> None:
        """Records what the caller got for an entry: the HTTP status, or `dropped` if a fault withheld the answer."""
        self._store.run("UPDATE journal SET answered = ? WHERE number = ?", answered, number)

    def entries(self, action: str | None = None, display_name: str | None = None) -> list[dict[str, Any]]:
        rows = self._store.rows("SELECT * FROM journal WHERE ? IS NULL OR action = ? ORDER BY number", action, action)
        entries = [
            {
                "number": row["number"],
                "time": timestamp_ns(row["time_ns"]),
                "action": row["action"],
                "project": row["project"],
                "answered": row["answered"],
                **json.loads(row["entry"]),
            }
            for row in rows
        ]
        return [entry for entry in entries if display_name is None or entry.get("display_name") == display_name]

    def count_call(self, method: str, route: str, answered: str) -> None:
        self._store.run(
            "INSERT INTO calls VALUES (?, ?, ?, 1) ON CONFLICT (method, route, answered) DO UPDATE SET count = count + 1",
            method,
            route,
            answered,
        )

    def calls(self) -> list[dict[str, Any]]:
        rows = self._store.rows("SELECT method, route, answered, count FROM calls ORDER BY route, method, answered")
        return [dict(row) for row in rows]
