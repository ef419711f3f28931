"""The emulator's state on disk: one SQLite database, and a folder with the contents of files.

Whatever was acknowledged survives a kill at any time: a row is committed before the call is answered, and content is complete on
disk before a row refers to it. Content without a row is removed at the next start.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from airflow_gemini_batch.emulator.patterns import is_found

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Version of the tables below. A folder of another version is refused: an emulator's state is not worth a migration.
_VERSION = 2

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, id TEXT NOT NULL, display_name TEXT NOT NULL,
    mime_type TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL, source TEXT NOT NULL, content TEXT NOT NULL, processed_ns INTEGER NOT NULL, error TEXT,
    UNIQUE (project, id));
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, file TEXT NOT NULL, size INTEGER, mime_type TEXT NOT NULL,
    state TEXT NOT NULL, answer BLOB);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, kind TEXT NOT NULL,
    model TEXT NOT NULL, display_name TEXT NOT NULL, file_name TEXT, request_count INTEGER NOT NULL,
    created_ns INTEGER NOT NULL, released_ns INTEGER, pending_ns INTEGER NOT NULL, running_ns INTEGER NOT NULL,
    lifetime_ns INTEGER NOT NULL, plan TEXT NOT NULL, row_faults TEXT NOT NULL, priority INTEGER NOT NULL,
    tokens INTEGER NOT NULL, cancelled_ns INTEGER, output_ns INTEGER, output_rows INTEGER NOT NULL DEFAULT 0,
    output_sha256 TEXT, failed_rows INTEGER NOT NULL DEFAULT 0, settled_ns INTEGER, polls INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS unsettled ON jobs (number) WHERE settled_ns IS NULL;
CREATE TABLE IF NOT EXISTS journal (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time_ns INTEGER NOT NULL, action TEXT NOT NULL, project TEXT NOT NULL,
    entry TEXT NOT NULL, answered TEXT);
CREATE TABLE IF NOT EXISTS calls (method TEXT, route TEXT, answered TEXT, count INTEGER, PRIMARY KEY (method, route, answered));
CREATE TABLE IF NOT EXISTS webhooks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, name TEXT NOT NULL,
    uri TEXT NOT NULL, events TEXT NOT NULL, state TEXT NOT NULL, created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
    secrets TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS caches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, shown TEXT NOT NULL,
    created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS job_webhooks (job TEXT PRIMARY KEY, uris TEXT NOT NULL, user_metadata TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, webhook TEXT NOT NULL, uri TEXT NOT NULL, job TEXT,
    event TEXT NOT NULL, body BLOB NOT NULL, created_ns INTEGER NOT NULL, due_ns INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'waiting', answered TEXT, fault TEXT,
    planned INTEGER NOT NULL DEFAULT 0, UNIQUE (job, webhook, uri));
CREATE INDEX IF NOT EXISTS undelivered ON deliveries (number) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, fault TEXT NOT NULL, seen INTEGER NOT NULL DEFAULT 0,
    fired INTEGER NOT NULL DEFAULT 0);
"""


class Store:
    """One database connection for all threads. Every change is a transaction of its own, unless it is inside `transaction()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents = folder / "contents"
        self.contents.mkdir(parents=True, exist_ok=True)
        self._claim = _claim(folder)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(folder / "emulator.sqlite3", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.create_function("REGEXP", 2, is_found, deterministic=True)
        # synchronous=NORMAL in WAL mode: a commit survives a kill of the process, without an fsync for each commit.
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        is_new = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not is_new and version != _VERSION:
            self.close()
            raise StateUnusable(f"{folder} was written by another version of the emulator. Delete it or choose another folder.")
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA user_version={_VERSION};" + _TABLES)

    def close(self) -> None:
        with self._lock:
            self._db.close()
            self._claim.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits at the end, rolls back on an exception. An inner transaction joins the outer one."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        with self._lock:
            found: sqlite3.Row | None = self._db.execute(query, values).fetchone()
            return found

    def number(self, query: str, *values: Any) -> int:
        found = self.row(query, *values)
        return int(found[0] or 0) if found is not None else 0

    def run(self, statement: str, *values: Any) -> int:
        """Executes a change. Returns the number of the row that an INSERT created."""
        with self._lock:
            return self._db.execute(statement, values).lastrowid or 0

    def insert(self, table: str, **values: Any) -> int:
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        return self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", *values.values())  # noqa: S608  (names of our own)

    def setting(self, name: str, default: str) -> str:
        found = self.row("SELECT value FROM settings WHERE name = ?", name)
        return default if found is None else str(found["value"])

    def set_setting(self, name: str, value: str) -> None:
        self.run("INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)

    def content(self, name: str) -> Path:
        return self.contents / name

    def share_content(self, name: str, new_name: str) -> None:
        """Hard-links a content under a second name, so that a job keeps its input when the file is deleted."""
        self.content(new_name).unlink(missing_ok=True)
        os.link(self.content(name), self.content(new_name))

    def sweep(self) -> None:
        """Removes contents without a row, left by a kill between writing the content and its row."""
        named = {row[0] for row in self.rows("SELECT content FROM files UNION SELECT id FROM uploads WHERE state = 'active'")}
        jobs = {row[0] for row in self.rows("SELECT id FROM jobs WHERE deleted = 0")}
        for path in self.contents.iterdir():
            if path.name not in named and path.name.partition(".")[0] not in jobs:
                path.unlink(missing_ok=True)


class StateUnusable(Exception):
    """The state folder is used by another running emulator, or was written by another version of it."""


def _claim(folder: Path) -> IO[str]:
    """Locks the folder for this process, until the returned file is closed or the process ends."""
    claim = (folder / "lock").open("w")
    if fcntl is not None:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            claim.close()
            raise StateUnusable(f"Another emulator uses {folder}. Stop it or choose another folder.") from error
    return claim
