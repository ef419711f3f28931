"""Taking a run as far as it will go now.

All that ``advance`` knows it reads from the run and the service, so it may be called by anyone, after any crash, any number of
times; whoever waits in between decides nothing.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field, replace

from airflow_gemini_batch.engine.collect.download import collect, landed, lost_job, unnamed_output
from airflow_gemini_batch.engine.errors import (
    BalanceError,
    OutcomeUnknownError,
    QuotaError,
    ServiceError,
    UnreachableError,
    UnsettledError,
)
from airflow_gemini_batch.engine.finish.redrive import redrive
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run, summary_of
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.submit.submission import Submission
from airflow_gemini_batch.engine.wait.in_flight import cancel, look, lost, recorded, remembered, stuck_in
from airflow_gemini_batch.engine.wait.waiting import is_settled, quota_wait, without_output

log = logging.getLogger(__name__)

#: What may be another time.
_MAY_PASS = (OutcomeUnknownError, UnreachableError, QuotaError)

#: Seconds until an output is asked for again that the service could not give.
_COLLECT_AGAIN = 60.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an unfinished run waits for.

    :param jobs: names of the jobs in flight, and of the ``late``.
    :param retry_in: seconds until there is something to do other than wait for them: a submission that was refused for quota,
        an output that could not be had, a job that may be stuck by then.
    :param refusals: how often in a row a submission has been refused for quota, or not answered.
    :param done: shards that have been collected, of ``shards``.
    :param late: jobs that have ended well and have not named their output.
    """

    jobs: tuple[str, ...]
    retry_in: float | None = None
    refusals: int = 0
    done: int = 0
    shards: int = 0
    only_collecting: bool = False
    late: tuple[str, ...] = ()

    def until(self, deadline: float, *, now: float) -> float:
        """When to give up waiting. Collecting what has been paid for has a patience of its own, which ``advance`` keeps."""
        return max(deadline, now + 2 * (self.retry_in or 0.0)) if self.only_collecting else deadline


def advance(
    run: Run, client: GeminiClient, options: BatchOptions, *, refusals: int = 0, patient: bool = False
) -> Waiting | Summary:
    """Collect what has ended, submit what may be, finish when all is there.

    :param refusals: how often in a row a submission has been refused for quota, or not answered (from the last ``Waiting``).
    :param patient: whether an outage is waited out. Not at first: then it may be the address that is wrong, and is an error.
    """
    if summary_of(run) is None:
        leg = _Leg(run, run.built(), client, options, refusals, patient)
        leg.collect()
        leg.submit()
        if not leg.is_done:
            return leg.waiting()
    try:
        return finish_run(run, max_dead_letter_ratio=options.max_dead_letter_ratio)
    except BalanceError as error:
        raise UnsettledError(f"{error} If another try of this task is at work, run the same again when it has ended.") from error


@dataclass(slots=True)
class _Leg:
    """One call of ``advance``. ``wake``: seconds until each thing that there is to do besides waiting."""

    run: Run
    manifest: Manifest
    client: GeminiClient
    options: BatchOptions
    refusals: int
    patient: bool
    active: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    wake: list[float] = field(default_factory=list)
    unsubmitted: list[Shard] = field(default_factory=list)
    again: list[Shard] = field(default_factory=list)
    uncollected: int = 0
    done: int = 0

    @property
    def is_done(self) -> bool:
        return not (self.active or self.unsubmitted or self.uncollected)

    def collect(self) -> None:
        """Look at every job in flight, collect what is settled, and decide what is sent again."""
        generation: list[Shard] = list(self.manifest.shards)
        while generation:
            self._see_to_all(generation)
            generation, self.again = self.again, []

    def submit(self) -> None:
        """Submit what has no job yet, as far as the limit and the service's quota allow."""
        submission = Submission(self.run, self.manifest, self.client, replace(self.options, max_active_jobs=None))
        limit = self.options.max_active_jobs
        while self.unsubmitted and (limit is None or len(self.active) < limit):
            try:
                self.active.append(submission.submit(self.unsubmitted[0]).job)
            except _MAY_PASS as error:
                if not (self.patient or isinstance(error, QuotaError)):
                    raise
                self.refusals += 1
                asked = error.retry_after if isinstance(error, QuotaError) else None
                wait = quota_wait(self.refusals, asked, jitter=random.random())
                self.wake.append(wait)
                log.warning("%s %s Trying again in %.0f s.", error, self._held(), wait)
                return
            del self.unsubmitted[0]
            self.refusals = 0
            if self.options.resubmit_stuck_after is not None:
                self.wake.append(self.options.resubmit_stuck_after.total_seconds() / 4)

    def waiting(self) -> Waiting:
        shards = self.done + self.uncollected + len(self.unsubmitted) + len(self.active)
        log.info("%s: %d of %d shards done, %d jobs active.", self.run.destination, self.done, shards, len(self.active))
        only_collecting = self.uncollected > 0 and not self.active and not self.unsubmitted
        return Waiting(
            jobs=(*self.active, *self.late),
            retry_in=min(self.wake, default=None),
            refusals=self.refusals,
            done=self.done,
            shards=shards,
            only_collecting=only_collecting,
            late=tuple(self.late),
        )

    def _see_to_all(self, shards: list[Shard]) -> None:
        ledger = Ledger(self.run)
        open_shards: list[Shard] = []
        for shard in shards:
            if landed(self.run, shard) is None:
                open_shards.append(shard)
            else:
                self._redrive(shard)
        submitted = {shard: record.job for shard in open_shards if (record := recorded(ledger, shard)) is not None}
        jobs = self._look(list(submitted.values()))
        for shard in open_shards:
            if shard in submitted and jobs is None:
                self.active.append(submitted[shard])
            elif shard in submitted and jobs is not None:
                self._see_to(shard, submitted[shard], jobs[submitted[shard]] or remembered(ledger, shard.id))
            elif shard.requests == 0:
                self._collect(shard, None)
            else:
                self.unsubmitted.append(shard)

    def _look(self, names: list[str]) -> dict[str, Job | None] | None:
        """The jobs as they are; None when that cannot be known now: whoever waits looks again."""
        try:
            return look(self.client, names)
        except _MAY_PASS as error:
            if not self.patient:
                raise
            log.warning("%s", error)
            return None

    def _see_to(self, shard: Shard, name: str, job: Job | None) -> None:
        if job is None:
            if not self.options.resubmit_lost:
                raise lost(self.run, shard.id, name)
            log.warning("The service does not find %s of shard %s; its rows are sent again.", name, shard.id)
            self._send_again(shard, name)
        elif is_settled(job):
            self._collect(shard, job)
        elif job.is_terminal:
            self._without_output(shard, job, unnamed_output(job))
        else:
            self.active.append(name)
            self._watch_progress(shard, job)

    def _collect(self, shard: Shard, job: Job | None) -> None:
        options = self.options
        try:
            collect(
                self.run, self.client, shard, job,
                keep_response=options.keep_response, media_to=options.media_to, resubmit_lost=options.resubmit_lost,
            )  # fmt: skip
        except _MAY_PASS as error:
            if job is None:
                raise
            self._without_output(shard, job, error)
        else:
            self._redrive(shard)

    def _without_output(self, shard: Shard, job: Job, error: ServiceError) -> None:
        """An output that cannot be had now: asked for again, and for good an error or lost."""
        ledger, options = Ledger(self.run), self.options
        ledger.record_end(shard.id, job)
        left = (ledger.ended_at(shard.id) or 0.0) + options.collect_timeout.total_seconds() - time.time()
        match without_output(error, left=left, resubmit_lost=options.resubmit_lost, patient=self.patient):
            case "error":
                raise error
            case "lost":
                log.warning("%s The rows of shard %s are sent again.", error, shard.id)
                self._send_again(shard, job.name, why=error)
            case "ask again" if is_settled(job):
                self.uncollected += 1
                self.wake.append(_COLLECT_AGAIN * (0.5 + random.random()))
                log.warning("%s The job of shard %s has ended; asking for its output again later.", error, shard.id)
            case "ask again":
                # Whoever waits sees when it names it.
                self.uncollected += 1
                self.late.append(job.name)
                self.wake.append(left if left > 0 else _COLLECT_AGAIN)
                log.info("%s has ended and does not name its output yet.", job)

    def _send_again(self, shard: Shard, name: str, *, why: ServiceError | None = None) -> None:
        options = self.options
        lost_job(self.run, shard, name, why=why, keep_response=options.keep_response, media_to=options.media_to)
        self._redrive(shard)

    def _redrive(self, shard: Shard) -> None:
        """What dies for good is done; what is sent again is new work."""
        self.done += 1
        self.again.extend(redrive(self.run, self.manifest, shard, self.options))

    def _watch_progress(self, shard: Shard, job: Job) -> None:
        if self.options.resubmit_stuck_after is None:
            return
        after = self.options.resubmit_stuck_after.total_seconds()
        cancellation = Ledger(self.run).cancellation(shard.id)
        left = stuck_in(self.run, shard.id, job, after=after)
        if left <= 0 or (cancellation is not None and cancellation.why == "stuck"):
            # Repeated until the job has ended: the first request may have been lost.
            cancel(self.run, self.client, shard.id, job.name, why="stuck")
            self.wake.append(_COLLECT_AGAIN)
        else:
            # Looked at more often than needed, since progress is only seen when somebody looks.
            self.wake.append(min(left, after / 4))

    def _held(self) -> str:
        size = sum(shard.bytes for shard in Ledger(self.run).shards(self.manifest)) / 1e6
        return (
            f"This run has {len(self.active)} jobs active and {len(self.unsubmitted)} to come, {size:.0f} MB of requests in all."
        )
