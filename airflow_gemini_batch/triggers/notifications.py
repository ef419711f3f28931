"""Wakes waiting triggers by the notifications that the API server writes when it receives webhooks.

All triggers of an event loop that watch the same folder share one listing of it every two seconds. Two invariants: a notification
only makes a trigger fetch its jobs sooner; and the service is polled as often as without webhooks if no notification can arrive
(no secret or URI is configured, the folder cannot be read, a job has no webhook), or if a notification has arrived for a job
that the service does not show as ended yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.triggers.poller import Poller
from airflow_gemini_batch.webhooks.events import JobEnded
from airflow_gemini_batch.webhooks.notifications import NotificationFolder
from airflow_gemini_batch.webhooks.settings import WebhookSettings

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.job_fetching import Fetched

log = logging.getLogger(__name__)

#: Seconds between two listings of the folder.
_LIST_INTERVAL = 2.0

#: Seconds until the next listing after one that failed.
_RETRY_INTERVAL = 30.0

#: With webhooks the service is polled this many times less often. The remaining polls are for lost webhooks.
_SLOWDOWN = 10.0


class JobNotifications:
    """The notifications for the jobs of one trigger.

    :param watch: the watched folder; None if there are no webhooks.
    :param jobs: names of the jobs (``batches/…``).
    :param is_registered: whether a registered webhook reports every job. Otherwise each job has a webhook of its own, except
        embedding jobs, because the SDK has no such field for them. Default: true.
    """

    def __init__(self, watch: FolderWatch | None, jobs: Collection[str], *, is_registered: bool = True) -> None:
        self._watch = watch
        self._jobs = frozenset(jobs)
        #: Jobs that may have no webhook: all, until a job has been fetched and does not make embeddings.
        self._silent: set[str] = set() if is_registered else set(jobs)
        self._received: set[JobEnded] = set()

    def interval(self, poll_interval: float) -> float:
        """Seconds between two polls of the service."""
        if self._watch is None or not self._watch.is_readable or self._silent or self._received:
            return poll_interval
        return poll_interval * _SLOWDOWN

    async def fetch(self, poller: Poller, *, within: float) -> dict[str, Fetched]:
        """The jobs as they are between now and ``within`` seconds from now: at once when a notification arrives."""
        fetched = await self._fetch(poller, within)
        self._silent -= {name for name, job in fetched.items() if isinstance(job, Job) and not job.embeds}
        return fetched

    async def _fetch(self, poller: Poller, within: float) -> dict[str, Fetched]:
        jobs = sorted(self._jobs)
        if self._watch is None:
            return await poller.fetch(jobs, within=within)
        fetching = asyncio.ensure_future(poller.fetch(jobs, within=within))
        notified = asyncio.ensure_future(self._next_notification(self._watch))
        try:
            await asyncio.wait({fetching, notified}, return_when=asyncio.FIRST_COMPLETED)
            return fetching.result() if fetching.done() else await poller.fetch(jobs, within=0.0)
        finally:
            fetching.cancel()
            notified.cancel()
            await asyncio.gather(fetching, notified, return_exceptions=True)

    async def _next_notification(self, watch: FolderWatch) -> None:
        """Return when there is a new notification for one of the jobs."""
        while True:
            new = {event for event in watch.events if event.job in self._jobs} - self._received
            if new:
                self._received |= new
                return
            await watch.changed()


@dataclass(eq=False)
class FolderWatch:
    """A notification folder that is listed regularly. ``is_readable``: whether the last listing succeeded."""

    folder: str
    events: frozenset[JobEnded] = frozenset()
    is_readable: bool = False
    users: int = 0
    _listening: asyncio.Task[None] | None = None
    _opened: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self) -> None:
        """Start listing, and return when the first listing has succeeded or failed."""
        if self._listening is None:
            # In a context of its own: the trigger that opens it may end, and its log be closed, before its last user leaves.
            self._listening = contextvars.Context().run(asyncio.get_running_loop().create_task, self._listen())
        await self._opened.wait()

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def changed(self) -> None:
        """Return when there are new notifications."""
        await self._changed.wait()

    async def _listen(self) -> None:
        while True:
            try:
                self._update(frozenset(await asyncio.to_thread(_events_in, self.folder)))
            except Exception as error:
                if self.is_readable or not self._opened.is_set():
                    log.warning("Notifications in %s cannot be read, so the jobs are polled instead: %r", self.folder, error)
                self.is_readable = False
            self._opened.set()
            await asyncio.sleep(_LIST_INTERVAL if self.is_readable else _RETRY_INTERVAL)

    def _update(self, events: frozenset[JobEnded]) -> None:
        self.is_readable = True
        if events - self.events:
            # Wakes the triggers that wait now; the next change gets a new event.
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
        self.events = events


def notification_folder(folder: str) -> NotificationFolder:
    """The notification folder at a URI. Blocks."""
    from airflow_gemini_batch._locations import locate

    return NotificationFolder(locate(folder))


def _events_in(folder: str) -> set[JobEnded]:
    return notification_folder(folder).found()


#: Watched folders by event loop and URI.
_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, FolderWatch]] = WeakKeyDictionary()


@contextlib.asynccontextmanager
async def job_notifications(settings: WebhookSettings, jobs: Collection[str]) -> AsyncIterator[JobNotifications]:
    """The notifications for some jobs. Without webhook settings there are none, and the jobs are polled.

    :param settings: the webhook settings of the connection.
    :param jobs: names of the jobs (``batches/…``).
    """
    folder = settings.folder
    if folder is None or not (settings.secrets or settings.uri):
        yield JobNotifications(None, jobs)
        return
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    watch = watches.setdefault(folder, FolderWatch(folder))
    watch.users += 1
    try:
        await watch.open()
        yield JobNotifications(watch, jobs, is_registered=bool(settings.secrets))
    finally:
        watch.users -= 1
        if watch.users == 0:
            del watches[folder]
            await watch.close()
