"""Hearing knocks: whoever waits for jobs in the triggerer is woken by the webhooks that the API server has taken.

Everybody who listens at one folder in one event loop shares one listing of it every two seconds, and nobody asks the service
meanwhile. What must stay true: a knock only makes somebody look sooner; and the service is asked as often as without webhooks
where none can come (nothing says whom to believe, the folder cannot be read, a job has no webhook of its own), and where a knock
has been heard of a job that the service does not show as ended yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.triggers.poller import Poller, Seen
from airflow_gemini_batch.webhooks.events import JobEnded
from airflow_gemini_batch.webhooks.notifications import NotificationFolder
from airflow_gemini_batch.webhooks.settings import WebhookSettings

log = logging.getLogger(__name__)

#: Seconds between two listings of the folder; after one that failed.
LISTEN_EVERY = 2.0
_AFTER_TROUBLE = 30.0

#: With webhooks the service is asked so many times less often: only for the webhooks that are lost.
SLOWER = 10.0


class JobNotifications:
    """What one who waits for jobs has heard of them.

    :param is_registered: whether a registered webhook tells of every job. Else each job brings its own, and one that makes
        embeddings has none: the SDK knows no such field.
    """

    def __init__(self, door: FolderWatch | None, jobs: Collection[str], *, is_registered: bool = True) -> None:
        self._door = door
        self._jobs = frozenset(jobs)
        self._silent: set[str] = set() if is_registered else set(jobs)  # as far as is known: they have not been seen yet
        self._heard: set[JobEnded] = set()

    def interval(self, poll_interval: float) -> float:
        """How long to wait between two looks at the service."""
        if self._door is None or not self._door.is_sound or self._silent or self._heard:
            return poll_interval
        return poll_interval * SLOWER

    async def fetch(self, poller: Poller, *, within: float) -> dict[str, Seen]:
        """The jobs at some moment between now and ``within`` seconds from now: at once when somebody has knocked."""
        seen = await self._look(poller, within)
        self._silent -= {name for name, job in seen.items() if isinstance(job, Job) and not job.embeds}
        return seen

    async def _look(self, poller: Poller, within: float) -> dict[str, Seen]:
        jobs = sorted(self._jobs)
        if self._door is None:
            return await poller.look(jobs, within=within)
        looking = asyncio.ensure_future(poller.look(jobs, within=within))
        ringing = asyncio.ensure_future(self._ring(self._door))
        try:
            await asyncio.wait({looking, ringing}, return_when=asyncio.FIRST_COMPLETED)
            return looking.result() if looking.done() else await poller.look(jobs, within=0.0)
        finally:
            looking.cancel()
            ringing.cancel()
            await asyncio.gather(looking, ringing, return_exceptions=True)

    async def _ring(self, door: FolderWatch) -> None:
        """Return when there is a knock for our jobs that has not been heard yet."""
        while True:
            new = {knock for knock in door.knocks if knock.job in self._jobs} - self._heard
            if new:
                self._heard |= new
                return
            await door.changed()


@dataclass(eq=False)
class FolderWatch:
    """A folder that is listened at. ``is_sound``: the last listing of it went well."""

    folder: str
    knocks: frozenset[JobEnded] = frozenset()
    is_sound: bool = False
    users: int = 0
    _listening: asyncio.Task[None] | None = None
    _opened: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self) -> None:
        """Listen, and return when it is known whether one can."""
        if self._listening is None:
            # In a context of its own: the one who opens may be gone, and its log closed, long before the last one leaves.
            self._listening = contextvars.Context().run(asyncio.get_running_loop().create_task, self._listen())
        await self._opened.wait()

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def changed(self) -> None:
        await self._news.wait()

    async def _listen(self) -> None:
        while True:
            try:
                self._hear(frozenset(await asyncio.to_thread(_events_in, self.folder)))
            except Exception as error:
                if self.is_sound or not self._opened.is_set():
                    log.warning("Knocks in %s cannot be heard, so the jobs are polled instead: %r", self.folder, error)
                self.is_sound = False
            self._opened.set()
            await asyncio.sleep(LISTEN_EVERY if self.is_sound else _AFTER_TROUBLE)

    def _hear(self, knocks: frozenset[JobEnded]) -> None:
        self.is_sound = True
        if knocks - self.knocks:
            # Those who wait for this news get a new event for the next.
            news, self._news = self._news, asyncio.Event()
            news.set()
        self.knocks = knocks


def notification_folder(folder: str) -> NotificationFolder:
    from airflow_gemini_batch._locations import locate

    return NotificationFolder(locate(folder))


def _events_in(folder: str) -> set[JobEnded]:
    return notification_folder(folder).found()


#: By event loop, as the pollers are.
_doors: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, FolderWatch]] = WeakKeyDictionary()


@contextlib.asynccontextmanager
async def job_notifications(settings: WebhookSettings, jobs: Collection[str]) -> AsyncIterator[JobNotifications]:
    """Listen for knocks for some jobs; without webhooks, the doorbell never rings."""
    folder = settings.folder
    if folder is None or not (settings.secrets or settings.uri):
        yield JobNotifications(None, jobs)
        return
    doors = _doors.setdefault(asyncio.get_running_loop(), {})
    door = doors.setdefault(folder, FolderWatch(folder))
    door.users += 1
    try:
        await door.open()
        yield JobNotifications(door, jobs, is_registered=bool(settings.secrets))
    finally:
        door.users -= 1
        if door.users == 0:
            del doors[folder]
            await door.close()
