"""What was asked of the emulator, for a test harness to compare with what the caller believes.

Every create, upload, cancel and delete is an entry; every call of the API is counted. An entry of work that was
done is committed together with the work, so that no job is without its entry.
"""

from __future__ import annotations

import json
from typing import Any

from airflow_gemini_batch.emulator.clock import Clock, timestamp_ns
from airflow_gemini_batch.emulator.store import Store


class Journal:
    """Entries and counters; both outlive a restart."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def write(self, action: str, project: str, **entry: Any) -> int:
        """`action` is create, upload, cancel, delete or refuse. Answers the entry's number."""
        return self._store.insert("journal", time_ns=self._clock.now(), action=action, project=project, entry=json.dumps(entry))

    def record_answer(self, number: int, answered: str) -> None:
        """What the caller got for the work of an entry: the status, or `dropped` when the answer was kept back."""
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
