"""Asset events for jobs that have ended, so that a DAG can be scheduled on them.

    Asset("gemini-batches", watchers=[AssetWatcher(name="ended", trigger=GeminiBatchEventTrigger())])

What must stay true: a webhook alone makes no event, the service's own answer does; each end of a job since the first watch makes
one event for each watcher, over restarts too, and two rather than none when the triggerer is killed in between; a lost webhook
makes it late only; and a watch goes on by itself once what was wrong with the connection, the folder or the service is mended.
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
from airflow_gemini_batch.engine.wait.waiting import is_settled
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.triggers.notifications import notification_folder
from airflow_gemini_batch.triggers.poller import Poller, shared_poller
from airflow_gemini_batch.webhooks.events import ENDINGS, JobEnded, names_a_file
from airflow_gemini_batch.webhooks.notifications import file_name

if TYPE_CHECKING:
    from airflow_gemini_batch.webhooks.notifications import NotificationFolder

#: Only jobs that ended within this time are made events of without a knock: what has been fired is forgotten later than that.
_LOOK_BACK = dt.timedelta(days=2)

#: Seconds until the next try when the connection, the folder or the service cannot be used.
_AFTER_TROUBLE = 60.0

_ENDING_BY_STATE = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.EXPIRED: "expired",
    JobState.CANCELLED: "cancelled",
}


class GeminiBatchEventTrigger(BaseEventTrigger):
    """Fire an event for each batch job of a connection that ends.

    The event is ``{"event": "batch.succeeded", "job": "batches/…", "state": "SUCCEEDED", "display_name": …, "model": …,
    "output_file": … | None}``; a DAG finds it in ``triggering_asset_events``, as ``extra["payload"]``.

    :param gemini_conn_id: The connection's id. Its extra must have ``webhook_folder``.
    :param events: Which ends count: ``batch.succeeded`` (default), ``batch.failed``, ``batch.expired``, ``batch.cancelled``.
    :param poll_interval: Seconds between two looks into the knock folder.
    :param list_interval: Seconds between two listings of the service's jobs, which find those whose webhook was lost.
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
        self._unmarked: set[JobEnded] = set()  # decided here, and not yet known to the folder

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
        """It never ends by itself: Airflow would start it again every second."""
        while True:
            try:
                async with contextlib.aclosing(self._watch()) as events:
                    async for event in events:
                        yield event
            except Exception as error:
                seconds = min(self.list_interval, _AFTER_TROUBLE)
                told = error if isinstance(error, GeminiBatchError) else f"{error!r}."
                self.log.error("%s Watching again in %.0f s.", told, seconds)
                await asyncio.sleep(seconds)

    async def _watch(self) -> AsyncGenerator[TriggerEvent, None]:
        """One round: a listing of the jobs, and knocks until the next one is due. Each reads the connection anew."""
        hook = GeminiHook(self.gemini_conn_id)
        folder = (await hook.awebhook_settings()).folder
        if folder is None:
            raise InputError(f"Connection {self.gemini_conn_id!r} has no webhook_folder in its extra, so nobody can knock.")
        knocks = await asyncio.to_thread(notification_folder, folder)
        since = await asyncio.to_thread(knocks.since, self._watcher, now=time.time())
        decided = self._unmarked | await asyncio.to_thread(knocks.fired, self._watcher)
        async with shared_poller(await hook.aendpoint()) as poller:
            listed, until = await self._ended(poller, since), time.monotonic() + self.list_interval
            while True:
                new = sorted((listed | await self._found(knocks)) - decided, key=file_name)
                for ended, job in (await self._looked_at(poller, new)).items():
                    decided.add(ended)
                    if isinstance(job, RefusedError):
                        self.log.warning("%s is said to have ended, and the service says: %s", ended.job, job)
                        continue  # until the next round
                    self._unmarked.add(ended)
                    if job is not None and self._ending(job) == ended.ending and _ended_at(job, unless_told=since) >= since:
                        yield TriggerEvent(_payload(job, ended))  # type: ignore[no-untyped-call]
                await asyncio.sleep(self.poll_interval)
                # Only now has Airflow had time to store the events.
                for ended in sorted(self._unmarked, key=file_name):
                    await asyncio.to_thread(knocks.mark, self._watcher, ended)
                    self._unmarked.discard(ended)
                if time.monotonic() >= until:
                    return

    @property
    def _watcher(self) -> str:
        """The same over restarts; another one for a trigger that fires other events."""
        wanted = json.dumps([self.gemini_conn_id, sorted(self._endings)])
        return hashlib.sha256(wanted.encode()).hexdigest()[:16]

    @property
    def _endings(self) -> set[str]:
        return {ENDINGS[event] for event in self.events}

    async def _found(self, knocks: NotificationFolder) -> set[JobEnded]:
        try:
            return {ended for ended in await asyncio.to_thread(knocks.found) if ended.ending in self._endings}
        except Exception as error:
            self.log.warning("Knocks in %s cannot be heard: %r", knocks.folder, error)
            return set()

    async def _ended(self, poller: Poller, since: float) -> set[JobEnded]:
        """What the service's own listing says, however the webhooks have fared."""
        earliest = max(since, time.time() - _LOOK_BACK.total_seconds())
        ended: set[JobEnded] = set()
        token: str | None = None
        try:
            while True:
                jobs, token = await poller.page_of_jobs(token)
                recent = [job for job in jobs if _ended_at(job, unless_told=0.0) >= earliest and names_a_file(job.name)]
                ended |= {JobEnded(job.name, ending) for job in recent if (ending := self._ending(job))}
                if token is None:
                    return ended
        except ServiceError as error:
            self.log.warning("%s Looking again in %.0f s.", error, self.list_interval)
            return ended

    async def _looked_at(self, poller: Poller, new: Sequence[JobEnded]) -> dict[JobEnded, Job | RefusedError | None]:
        """Those that the service can tell of by now; None: it finds no such job. Raises ServiceError for an outage."""
        seen = await poller.fetch({ended.job for ended in new}, within=0.0) if new else {}
        told: dict[JobEnded, Job | RefusedError | None] = {}
        for ended in new:
            job = seen[ended.job]
            if isinstance(job, ServiceError) and not isinstance(job, RefusedError):
                raise job
            if job is None:
                self.log.warning("A webhook said that %s has ended, and the service does not find it: no event.", ended.job)
            if not isinstance(job, Job) or is_settled(job):
                told[ended] = job
        return told

    def _ending(self, job: Job) -> str | None:
        """How a job has ended, where that is among what is wanted."""
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


def _ended_at(job: Job, *, unless_told: float) -> float:
    """Seconds since the epoch; whole ones, as those of the first watch are."""
    ended = time_of(job.end_time)
    return unless_told if ended is None else float(int(ended.timestamp()))
