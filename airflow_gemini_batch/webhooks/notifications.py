"""The knock folder: small files by which the API server tells the triggerer that jobs have ended.

    <folder>/<job id>.succeeded                     somebody has knocked for this job
    <folder>/fired/<watcher>/<job id>.succeeded     this watcher has made an event of it
    <folder>/fired/<watcher>/since                  and it began to watch at this time

The two processes share nothing else that either may write. A name follows from the job alone, so that duplicates of a webhook
leave one file; nobody removes it but ``sweep``, since several tasks, and a watcher beside them, may wait for the same job. A
knock says nothing that counts: whoever finds one looks at the job.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_gemini_batch.webhooks.events import ENDINGS, JOB_NAME, JobEnded

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.run.storage import Location

#: Longer than the day for which the service repeats a webhook: a late duplicate must still find what was made of the first.
KEEP = dt.timedelta(days=3)

_NAME = re.compile(rf"(.+)\.({'|'.join(sorted(set(ENDINGS.values())))})")
_WATCHER = re.compile(r"[a-z0-9]{1,64}")


@dataclass(frozen=True, slots=True)
class NotificationFolder:
    folder: Location

    def leave(self, event: JobEnded) -> None:
        """Durable when it returns."""
        (self.folder / file_name(event)).write(b"")

    def found(self) -> set[JobEnded]:
        return _events(self.folder.children())

    def fired(self, watcher: str) -> set[JobEnded]:
        return _events(self._marks(watcher).children())

    def mark(self, watcher: str, event: JobEnded) -> None:
        (self._marks(watcher) / file_name(event)).write(b"")

    def since(self, watcher: str, *, now: float) -> float:
        """When this watcher watched for the first time, in seconds since the epoch."""
        beginning = self._marks(watcher) / "since"
        beginning.create(str(now).encode())
        return float(beginning.read())

    def sweep(self, *, now: dt.datetime) -> int:
        """Remove what is older than anybody waits for; answers how many files those were."""
        fired = self.folder / "fired"
        folders = [self.folder, *fired.children()]
        old = [file for folder in folders for file in folder.children() if _NAME.fullmatch(file.name) and _age(file, now) > KEEP]
        for file in old:
            file.delete()
        return len(old)

    def _marks(self, watcher: str) -> Location:
        if not _WATCHER.fullmatch(watcher):
            raise ValueError(f"{watcher!r} is no name of a watcher")
        return self.folder / "fired" / watcher


def file_name(event: JobEnded) -> str:
    match = JOB_NAME.fullmatch(event.job)
    if match is None:
        raise ValueError(f"{event} cannot name a file")
    return f"{match[1]}.{event.ending}"


def _events(files: Iterable[Location]) -> set[JobEnded]:
    matches = (_NAME.fullmatch(file.name) for file in files)
    events = (JobEnded(f"batches/{match[1]}", match[2]) for match in matches if match)
    return {event for event in events if JOB_NAME.fullmatch(event.job)}


def _age(file: Location, now: dt.datetime) -> dt.timedelta:
    try:
        modified: dt.datetime = file.fs.modified(file.path)
    except (FileNotFoundError, NotImplementedError):
        return dt.timedelta(0)
    return now - (modified if modified.tzinfo else modified.replace(tzinfo=dt.timezone.utc))
