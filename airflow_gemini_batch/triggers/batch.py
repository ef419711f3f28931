"""Waiting for batch jobs in the triggerer.

The trigger decides nothing: ``engine.wait.waiting.Watch`` says when to check again and when to wake the task, as it does for
tasks that wait in their worker slot. Invariants: the arguments are stored in the metadata database in plain text, so they are
JSON without a secret; the one event is small; and jobs are cancelled in ``on_kill`` only, if the task has ended (the next try of
a cleared task adopts them, and may have done so before ``on_kill`` is called) and after the ledger says so (their rows may be
resubmitted), never in ``cleanup``, which also runs when a triggerer restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_gemini_batch import _metrics
from airflow_gemini_batch._task_states import task_has_ended
from airflow_gemini_batch.engine.errors import ApiKeyError, GeminiBatchError, ServiceError
from airflow_gemini_batch.engine.gemini.jobs import Job, time_of
from airflow_gemini_batch.engine.wait.progress import Progress, Standing
from airflow_gemini_batch.engine.wait.waiting import Sleep, Wake, Watch
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.triggers.notifications import JobNotifications, job_notifications
from airflow_gemini_batch.triggers.poller import Poller, shared_poller

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint
    from airflow_gemini_batch.engine.run.job_progress import ProgressWriter

#: Seconds. Airflow gives ``on_kill`` 30 (``[triggerer] on_kill_timeout``): first the task's state is asked for, then the ledger
#: is written, then the jobs are cancelled. The first request of a new triggerer to Airflow has taken 11 seconds.
_LONGEST_KILL = 28.0
_LONGEST_STATE_LOOKUP = 12.0
_LONGEST_LEDGER_WRITE = 10.0


class GeminiBatchTrigger(BaseTrigger):
    """Wait until one of several jobs needs attention, a time comes, or the deadline passes; fire one event and end.

    The event is ``{"why": "settled" | "time" | "timeout" | "error", "message": str, "deadline": float, "refusals": int,
    "marks": list}``: what the task needs to resume, apart from what the run and the service hold.

    :param gemini_conn_id: The connection's id; the key is read from it here and stored nowhere.
    :param jobs: Names of the jobs (``batches/…``). None: only wait for ``wake_at``.
    :param poll_interval: Seconds between two checks while the service answers.
    :param deadline: When to give up, in seconds since the epoch: by the wall clock, because the trigger may resume in
        another process. The event returns it.
    :param late: The jobs that are known to have ended without naming their output. Default: none.
    :param standing: How far the run is without these jobs, for the log (see ``engine.wait.progress``). Default: not known.
    :param marks: What was logged before, and when; the event returns it. Default: nothing.
    :param until: When to give up, where that is later than the deadline: the last wait for what has been paid for may be longer.
    :param wake_at: When there is something else to do, in seconds since the epoch. Default: never.
    :param refusals: How often in a row a submission has been refused for quota; the event returns it.
    :param cancel_on_kill: Whether to cancel the jobs when the task ends while it is deferred: a user marks it or its run, the
        DAG is deleted, the DAG run times out. A cleared task keeps its jobs. Needs Airflow 3.3; before, all jobs keep running.
    :param destination: URI of the run whose ledger records the cancellation before its jobs are cancelled. Default: none.
    """

    def __init__(
        self,
        *,
        gemini_conn_id: str,
        jobs: Sequence[str],
        poll_interval: float,
        deadline: float,
        wake_at: float | None = None,
        refusals: int = 0,
        cancel_on_kill: bool = False,
        destination: str | None = None,
        until: float | None = None,
        late: Sequence[str] = (),
        standing: Mapping[str, Any] | None = None,
        marks: Sequence[Sequence[float]] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gemini_conn_id = gemini_conn_id
        self.jobs = list(jobs)
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.wake_at = wake_at
        self.refusals = refusals
        self.cancel_on_kill = cancel_on_kill
        self.destination = destination
        self.until = deadline if until is None else until
        self.late = list(late)
        self.standing = None if standing is None else dict(standing)
        self.marks = [list(mark) for mark in marks]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "airflow_gemini_batch.triggers.batch.GeminiBatchTrigger",
            {
                "gemini_conn_id": self.gemini_conn_id,
                "jobs": self.jobs,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "wake_at": self.wake_at,
                "refusals": self.refusals,
                "cancel_on_kill": self.cancel_on_kill,
                "destination": self.destination,
                "until": self.until,
                "late": self.late,
                "standing": self.standing,
                "marks": self.marks,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        watch = Watch(self.jobs, self.poll_interval, self.until, self.wake_at, self.late)
        started = time.monotonic()
        progress = Progress(self.marks)
        try:
            wake = await (self._watch_jobs(watch, progress) if self.jobs else _sleep_through(watch))
            why, message = wake.why, wake.message
        except GeminiBatchError as error:
            why, message = "error", str(error)
        _metrics.timing("wait", time.monotonic() - started, why=why)
        event = {
            "why": why,
            "message": message,
            "deadline": self.deadline,
            "refusals": self.refusals,
            "marks": [list(mark) for mark in progress.marks],
        }
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the jobs if the task has ended: jobs that no task waits for should not be billed."""
        if not (self.cancel_on_kill and self.jobs):
            return
        work = asyncio.ensure_future(self._cancel_jobs_of_an_ended_task())
        until = time.monotonic() + _LONGEST_KILL
        while not work.done() and time.monotonic() < until:
            # The triggerer repeats its request in every round of its loop, about once a second, and each one cancels us again.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work], timeout=until - time.monotonic())

    async def _cancel_jobs_of_an_ended_task(self) -> None:
        names = ", ".join(self.jobs)
        try:
            ended = await asyncio.wait_for(asyncio.to_thread(task_has_ended, self.task_instance), _LONGEST_STATE_LOOKUP)
        except Exception as error:  # a job that runs on can be collected or cancelled later; one that was cancelled is lost
            self.log.warning(
                "Airflow did not say whether the killed task has ended (%r). Its jobs keep running and may be billed. "
                "If no task waits for them, cancel them: gemini-batch jobs cancel %s",
                error,
                " ".join(self.jobs),
            )
            return
        if ended:
            await self._cancel_jobs()
        else:
            self.log.info(
                "The task goes on (it was cleared), so its jobs keep running and its next try waits for them: %s.", names
            )

    async def _cancel_jobs(self) -> None:
        try:
            await asyncio.wait_for(asyncio.to_thread(self._write_to_ledger), _LONGEST_LEDGER_WRITE)
        except Exception as error:  # whatever the storage does, the jobs must not run on
            self.log.warning("The cancellation could not be written into the ledger of %s: %r", self.destination, error)
        async with shared_poller(await self._endpoint()) as poller:
            outcomes = await asyncio.gather(*map(poller.cancel_job, self.jobs), return_exceptions=True)
        for job, outcome in zip(self.jobs, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                self.log.warning("%s The job may keep running and be billed.", outcome)
            else:
                self.log.info("Cancelled %s.", job)

    def _write_to_ledger(self) -> None:
        from airflow_gemini_batch._locations import locate
        from airflow_gemini_batch.engine.run.cancellation import announce_cancellation
        from airflow_gemini_batch.engine.run.layout import Run

        if self.destination is None:
            return
        unknown = announce_cancellation(Run(locate(self.destination)), self.jobs, why="killed")
        if unknown:
            self.log.warning("%s, as seen from this process, does not know %s.", self.destination, ", ".join(unknown))

    async def _watch_jobs(self, watch: Watch, progress: Progress) -> Wake:
        webhooks = await GeminiHook(self.gemini_conn_id).awebhook_settings()
        endpoint = await self._endpoint()
        async with job_notifications(webhooks, self.jobs) as notifications:
            watch.poll_interval = notifications.interval(self.poll_interval)
            # The task has checked the jobs right before it deferred, so the first check is not at once.
            decision = watch.on_fetched((), now=time.time())
            while True:
                try:
                    async with shared_poller(endpoint) as poller:
                        return await self._watch_with(poller, notifications, watch, progress, decision)
                except ApiKeyError as refused:
                    # The wait may last for days, and keys are rotated.
                    renewed = await self._endpoint()
                    if renewed == endpoint:
                        return Wake("error", refused)
                    self.log.info("The key was refused, but connection %s has a new one, which is used now.", self.gemini_conn_id)
                    endpoint, decision = renewed, Sleep(0.0)

    async def _watch_with(
        self, poller: Poller, notifications: JobNotifications, watch: Watch, progress: Progress, decision: Sleep | Wake
    ) -> Wake:
        """Watch over one client. Raises ApiKeyError when its key is refused."""
        standing = None if self.standing is None else msgspec.convert(self.standing, Standing)
        hint = await asyncio.to_thread(self._progress_hint)
        while True:
            # A time that has already passed still gets its check: a job may have ended in the meantime.
            seen = await notifications.fetch(poller, within=decision.seconds if isinstance(decision, Sleep) else 0.0)
            watch.poll_interval = notifications.interval(self.poll_interval)
            jobs = [job for job in seen.values() if isinstance(job, Job)]
            self._measure(jobs)
            for line in progress.lines(jobs, standing, now=time.time()):
                self.log.info("%s", line)
            await asyncio.to_thread(hint.write, jobs, now=time.time())
            decision = watch.on_fetched(seen.values(), now=time.time())
            if isinstance(decision, Wake):
                if isinstance(decision.error, ApiKeyError):
                    raise decision.error
                return decision
            for error in {str(answer) for answer in seen.values() if isinstance(answer, ServiceError)}:
                self.log.warning("%s Checking again in %.0f s.", error, decision.seconds)

    def _measure(self, jobs: Sequence[Job]) -> None:
        """Send the age of the oldest job that has not ended, which shows a job that is stuck while it is."""
        created = [time_of(job.create_time) for job in jobs if not job.is_terminal]
        oldest = min((moment.timestamp() for moment in created if moment is not None), default=None)
        if oldest is not None and (ti := self.task_instance) is not None:
            _metrics.gauge("oldest_job_seconds", max(0.0, time.time() - oldest), dag_id=str(ti.dag_id), task_id=str(ti.task_id))

    def _progress_hint(self) -> ProgressWriter:
        """Where what was seen of the jobs is kept for people; nowhere, if the run lies where this process cannot see it."""
        from airflow_gemini_batch._locations import locate
        from airflow_gemini_batch.engine.run.job_progress import ProgressWriter
        from airflow_gemini_batch.engine.run.layout import Run

        try:
            return ProgressWriter(None if self.destination is None else Run(locate(self.destination)))
        except Exception as error:  # the wait does not depend on it
            self.log.debug("The progress is not kept: %r", error)
            return ProgressWriter(None)

    async def _endpoint(self) -> Endpoint:
        return await GeminiHook(self.gemini_conn_id).aendpoint()


async def _sleep_through(watch: Watch) -> Wake:
    while True:
        decision = watch.on_fetched((), now=time.time())
        if isinstance(decision, Wake):
            return decision
        await asyncio.sleep(decision.seconds)
