"""Asset events for jobs that have ended, so that a DAG can be scheduled on them.

    Asset("gemini-batches", watchers=[AssetWatcher(name="ended", trigger=GeminiBatchEventTrigger())])

Invariants:

* A webhook alone does not fire an event. The job is fetched from the service first.
* Each job that ends after the first watch fires one event per watcher, also across restarts. If the triggerer is killed in
  between, there may be two events, but never none.
* A lost webhook only delays an event.
* After an error of the connection, the folder or the service, the watch resumes by itself once the cause is fixed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_gemini_batch.engine.errors import GeminiBatchError, InputError, RefusedError, ServiceError
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState, time_of
from airflow_gemini_batch.engine.gemini.page_tokens import PageTokens
from airflow_gemini_batch.engine.wait.waiting import is_settled
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.triggers.notifications import notification_folder
from airflow_gemini_batch.triggers.poller import Poller, shared_poller
from airflow_gemini_batch.webhooks.events import ENDINGS, JobEnded, names_a_file
from airflow_gemini_batch.webhooks.notifications import file_name

if TYPE_CHECKING:
    from airflow_gemini_batch.webhooks.notifications import NotificationFolder

#: Without a notification, only jobs that ended within this time fire events. The marks of fired events are kept for longer.
_LISTED_SINCE = dt.timedelta(days=2)

#: Seconds until the next round after an error of the connection, the folder or the service.
_RETRY_INTERVAL = 60.0

_ENDING_BY_STATE = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.EXPIRED: "expired",
    JobState.CANCELLED: "cancelled",
}


class GeminiBatchEventTrigger(BaseEventTrigger):
    """Fire an event for each batch job of a connection that ends.

    The event is ``{"event": "batch.succeeded", "job": "batches/…", "state": "SUCCEEDED", "display_name": str, "model": str,
    "output_file": str | None}``. A DAG reads it from ``triggering_asset_events``, as ``extra["payload"]``.

    :param gemini_conn_id: The connection's id. Its extra must have ``webhook_folder``. Default: ``gemini_default``.
    :param events: A list of ``batch.succeeded``, ``batch.failed``, ``batch.expired``, ``batch.cancelled``. Default: only
        ``batch.succeeded``.
    :param poll_interval: Seconds between two listings of the notification folder. Default: 5.
    :param list_interval: Seconds between two listings of the service's jobs, which find jobs whose webhook was lost. Default:
        600, because webhooks are rarely lost and each listing is a request per hundred jobs.

    Raises ValueError for an unknown event. Errors while watching are logged, and the watch is repeated.
    """

    def __init__(
        self,
        *,
        gemini_conn_id: str = GeminiHook.default_conn_name,
        events: Sequence[str] = ("batch.succeeded",),
        poll_interval: float = 5.0,
        list_interval: float = 600.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        unknown = sorted(set(events) - set(ENDINGS))
        if unknown or isinstance(events, str):
            raise ValueError(f"events is {events!r}; expected a list of {', '.join(ENDINGS)}.")
        self.gemini_conn_id = gemini_conn_id
        self.events = list(events)
        self.poll_interval = poll_interval
        self.list_interval = list_interval
        self._unmarked: set[JobEnded] = set()  # handled here, not yet marked in the folder

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "airflow_gemini_batch.triggers.events.GeminiBatchEventTrigger",
            {
                "gemini_conn_id": self.gemini_conn_id,
                "events": self.events,
                "poll_interval": self.poll_interval,
                "list_interval": self.list_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch forever. Airflow would restart a trigger that ends every second."""
        while True:
            try:
                async with contextlib.aclosing(self._watch()) as events:
                    async for event in events:
                        yield event
            except Exception as error:
                seconds = min(self.list_interval, _RETRY_INTERVAL)
                message = error if isinstance(error, GeminiBatchError) else f"{error!r}."
                self.log.error("%s Watching again in %.0f s.", message, seconds)
                await asyncio.sleep(seconds)

    async def _watch(self) -> AsyncGenerator[TriggerEvent, None]:
        """One round: list the jobs, then watch the folder until the next listing. Each round reads the connection again."""
        hook = GeminiHook(self.gemini_conn_id)
        folder = (await hook.awebhook_settings()).folder
        if folder is None:
            raise InputError(
                f"Connection {self.gemini_conn_id!r} has no webhook_folder in its extra, so webhooks cannot be received."
            )
        notifications = await asyncio.to_thread(notification_folder, folder)
        since = await asyncio.to_thread(notifications.since, self._watcher, now=time.time())
        handled = self._unmarked | await asyncio.to_thread(notifications.fired, self._watcher)
        async with shared_poller(await hook.aendpoint()) as poller:
            listed, until = await self._ended(poller, since), time.monotonic() + self.list_interval
            while True:
                new = sorted((listed | await self._notified(notifications)) - handled, key=file_name)
                for ended, job in (await self._fetched(poller, new)).items():
                    handled.add(ended)
                    if isinstance(job, RefusedError):
                        self.log.warning(
                            "A webhook said that %s has ended, but the service refuses to show it: %s", ended.job, job
                        )
                        continue  # until the next round
                    self._unmarked.add(ended)
                    if job is not None and self._ending(job) == ended.ending and _ended_at(job, default=since) >= since:
                        yield TriggerEvent(_payload(job, ended))  # type: ignore[no-untyped-call]
                await asyncio.sleep(self.poll_interval)
                # Only now has Airflow had time to store the events.
                for ended in sorted(self._unmarked, key=file_name):
                    await asyncio.to_thread(notifications.mark, self._watcher, ended)
                    self._unmarked.discard(ended)
                if time.monotonic() >= until:
                    return

    @property
    def _watcher(self) -> str:
        """An identity that is the same after a restart, and differs for a trigger that fires other events."""
        wanted = json.dumps([self.gemini_conn_id, sorted(self._endings)])
        return hashlib.sha256(wanted.encode()).hexdigest()[:16]

    @property
    def _endings(self) -> set[str]:
        return {ENDINGS[event] for event in self.events}

    async def _notified(self, notifications: NotificationFolder) -> set[JobEnded]:
        try:
            return {ended for ended in await asyncio.to_thread(notifications.found) if ended.ending in self._endings}
        except Exception as error:
            self.log.warning("Notifications in %s cannot be read: %r", notifications.folder, error)
            return set()

    async def _ended(self, poller: Poller, since: float) -> set[JobEnded]:
        """Ended jobs according to the service's listing, which does not depend on webhooks."""
        earliest = max(since, time.time() - _LISTED_SINCE.total_seconds())
        ended: set[JobEnded] = set()
        tokens = PageTokens("batch jobs")
        try:
            while True:
                jobs, token = await poller.page_of_jobs(tokens.latest)
                recent = [job for job in jobs if _ended_at(job, default=0.0) >= earliest and names_a_file(job.name)]
                ended |= {JobEnded(job.name, ending) for job in recent if (ending := self._ending(job))}
                if not tokens.go_on(token):
                    return ended
        except ServiceError as error:
            self.log.warning("%s Listing again in %.0f s.", error, self.list_interval)
            return ended

    async def _fetched(self, poller: Poller, new: Sequence[JobEnded]) -> dict[JobEnded, Job | RefusedError | None]:
        """The jobs that the service shows as ended; None for a job that it does not find. Raises ServiceError for an outage."""
        seen = await poller.fetch({ended.job for ended in new}, within=0.0) if new else {}
        fetched: dict[JobEnded, Job | RefusedError | None] = {}
        for ended in new:
            job = seen[ended.job]
            if isinstance(job, ServiceError) and not isinstance(job, RefusedError):
                raise job
            if job is None:
                self.log.warning(
                    "A webhook said that %s has ended, but the service does not find it. No event is fired.", ended.job
                )
            if not isinstance(job, Job) or is_settled(job):
                fetched[ended] = job
        return fetched

    def _ending(self, job: Job) -> str | None:
        """How a job has ended; None if it has not ended or the events do not include that."""
        ending = "succeeded" if job.ended_well else _ENDING_BY_STATE.get(job.state)
        return ending if ending in self._endings else None


def _payload(job: Job, ended: JobEnded) -> dict[str, Any]:
    return {
        "event": f"batch.{ended.ending}",
        "job": job.name,
        "state": job.state.value,
        "display_name": job.display_name,
        "model": job.model.removeprefix("models/"),
        "output_file": job.output_file,
    }


def _ended_at(job: Job, *, default: float) -> float:
    """Whole seconds since the epoch, as in the time of the first watch."""
    ended = time_of(job.end_time)
    return default if ended is None else float(int(ended.timestamp()))
