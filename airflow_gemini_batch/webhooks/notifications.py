"""The notification folder: empty files with which the API server notifies the triggerer of jobs that have ended.

    <folder>/<job id>.succeeded                     a webhook said that this job has succeeded
    <folder>/fired/<watcher>/<job id>.succeeded     this watcher has fired an event for it
    <folder>/fired/<watcher>/since                  when this watcher began to watch

The two processes have no other storage that both may write. A file's name depends only on the job, so duplicates of a webhook
leave one file. Only ``sweep`` removes files, because several tasks and a watcher may wait for the same job. A notification is
only a hint: its reader fetches the job.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_gemini_batch.webhooks.events import ENDINGS, JobEnded, names_a_file

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.run.storage import Location

#: Longer than the day for which the service repeats a webhook, so that a late duplicate does not fire a second event.
KEEP = dt.timedelta(days=3)

_NAME = re.compile(rf"(.+)\.({'|'.join(sorted(set(ENDINGS.values())))})")
_WATCHER = re.compile(r"[a-z0-9]{1,64}")


@dataclass(frozen=True, slots=True)
class NotificationFolder:
    """The notifications in ``folder``."""

    folder: Location

    def leave(self, event: JobEnded) -> None:
        """Write the notification. It is durable when this returns."""
        (self.folder / file_name(event)).write(b"")

    def found(self) -> set[JobEnded]:
        """All notifications in the folder."""
        return _events(self.folder.children())

    def fired(self, watcher: str) -> set[JobEnded]:
        """The notifications for which this watcher has fired an event."""
        return _events(self._marks(watcher).children())

    def mark(self, watcher: str, event: JobEnded) -> None:
        """Record that this watcher has fired an event for the notification."""
        (self._marks(watcher) / file_name(event)).write(b"")

    def since(self, watcher: str, *, now: float) -> float:
        """When this watcher first watched, in seconds since the epoch: ``now`` if it is the first time."""
        beginning = self._marks(watcher) / "since"
        beginning.create(str(now).encode())
        return float(beginning.read())

    def sweep(self, *, now: dt.datetime) -> int:
        """Remove files older than ``KEEP``. Returns how many were removed."""
        fired = self.folder / "fired"
        folders = [self.folder, *fired.children()]
        old = [file for folder in folders for file in folder.children() if _NAME.fullmatch(file.name) and _age(file, now) > KEEP]
        for file in old:
            file.delete()
        return len(old)

    def _marks(self, watcher: str) -> Location:
        if not _WATCHER.fullmatch(watcher):
            raise ValueError(f"Invalid watcher name {watcher!r}; expected 1 to 64 lower-case letters and digits.")
        return self.folder / "fired" / watcher


def file_name(event: JobEnded) -> str:
    """``<job id>.<ending>``. Raises ValueError if the job's id is not a safe file name."""
    if not names_a_file(event.job):
        raise ValueError(f"{event} cannot name a file")
    return f"{event.job.removeprefix('batches/')}.{event.ending}"


def _events(files: Iterable[Location]) -> set[JobEnded]:
    matches = (_NAME.fullmatch(file.name) for file in files)
    events = (JobEnded(f"batches/{match[1]}", match[2]) for match in matches if match)
    return {event for event in events if names_a_file(event.job)}


def _age(file: Location, now: dt.datetime) -> dt.timedelta:
    try:
        modified: dt.datetime = file.fs.modified(file.path)
    except (FileNotFoundError, NotImplementedError):
        return dt.timedelta(0)
    return now - (modified if modified.tzinfo else modified.replace(tzinfo=dt.timezone.utc))
