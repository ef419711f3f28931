"""The first half of a pass: what has been paid for is collected, and what is resubmitted of it is decided.

Each shard is taken for itself, as far as it can go now: one that fails keeps no other shard's answers from landing, and its error
comes when all of them have been looked at. While the answers of a shard become rows, the output of the next one is downloaded.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from airflow_gemini_batch.engine.collect.download import (
    DownloadedShard,
    collect,
    download,
    download_shard,
    lost_job,
    unnamed_output,
)
from airflow_gemini_batch.engine.errors import BudgetError, CorruptRunError, NotFoundError, ServiceError, one_error
from airflow_gemini_batch.engine.finish.redrive import redrive
from airflow_gemini_batch.engine.gemini.job_fetching import Fetched, fetch_jobs
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.passes.this_pass import Pass
from airflow_gemini_batch.engine.run.cancellation import cancel_job
from airflow_gemini_batch.engine.run.layout import Shard
from airflow_gemini_batch.engine.run.ledger import Landed
from airflow_gemini_batch.engine.run.many_files import may_overlap
from airflow_gemini_batch.engine.threads import Ahead
from airflow_gemini_batch.engine.wait.in_flight import job_of, stuck_in
from airflow_gemini_batch.engine.wait.waiting import PASSING, is_settled, without_output

log = logging.getLogger(__name__)

#: Seconds until an output that the service could not give, or a cancellation, is asked for again.
_ASK_AGAIN = 60.0

#: Outputs that are downloaded beyond the shard that is being landed. Each takes space on the worker's disk, and its shard's keys
#: take memory.
_DOWNLOADS_AHEAD = 1

#: Shard whose job has ended -> returns its downloaded output, or raises why there is none.
_Outputs: TypeAlias = Mapping[Shard, Callable[[], DownloadedShard]]


@dataclass(frozen=True, slots=True)
class ShardState:
    """Where a shard stands after it was looked at.

    :param stage: ``done``: landed, and its redrives are decided; ``active``: its job has not ended; ``uncollected``: its job has
        ended and the output cannot be had now; ``held``: landed, and what is to be resubmitted may cost too much;
        ``unsubmitted``: it has no job yet.
    :param job: the job to wait for, where there is one.
    :param wake_in: seconds until there is something to do for it besides waiting for its job.
    :param seen: the job as it was fetched, where that says something and it is waited for.
    """

    shard: Shard
    stage: Literal["done", "active", "uncollected", "held", "unsubmitted"]
    job: str | None = None
    wake_in: float | None = None
    seen: Job | None = None
    excess: BudgetError | None = None


@dataclass(frozen=True, slots=True)
class Collecting(Pass):
    """Collects in one pass."""

    def collect(self) -> list[ShardState]:
        """Collect every shard whose job has ended, and decide what is resubmitted. Raises at the end for those that failed."""
        states: list[ShardState] = []
        failures: dict[Shard, Exception] = {}
        generation: list[Shard] = list(self.snapshot.manifest.shards)
        while generation:
            fetched = self._fetch(generation)
            resubmitted: list[Shard] = []
            ended = self._ended(generation, fetched)
            download_one = functools.partial(self._download, ended)
            count = _DOWNLOADS_AHEAD if may_overlap(self.run.destination) else 0
            with Ahead(ended, download_one, ahead=count, discard=DownloadedShard.close) as ahead:
                outputs = {shard: functools.partial(ahead.take, shard) for shard in ended}
                for shard in generation:
                    try:
                        state, pieces = self._settle(shard, fetched, outputs)
                    except Exception as error:  # whatever it is, it must not keep other shards from being collected
                        failures[shard] = error
                    else:
                        states.append(state)
                        resubmitted += pieces
            generation = resubmitted
        if failures:
            self.snapshot.save()
            raise one_error({str(shard.id): error for shard, error in failures.items()})
        return [now for state in states for now in self._held_before(state)]

    def _held_before(self, state: ShardState) -> list[ShardState]:
        """A shard that was held is decided once more, when all others have been collected."""
        landed = self.snapshot.ledger.landed(state.shard.id) if state.stage == "held" else None
        if landed is None:
            return [state]
        state, pieces = self._redrive(state.shard, landed)
        return [state, *(ShardState(piece, "unsubmitted") for piece in pieces)]

    def _fetch(self, shards: Sequence[Shard]) -> dict[Shard, tuple[str, Fetched]]:
        """The recorded jobs of the shards that have not been settled, by one fetch for all of them."""
        self.snapshot.read((shard.id for shard in shards), "redrive")
        open = [shard for shard in shards if self._decided(shard) is None]
        self.snapshot.read((shard.id for shard in open), "job")
        names = {shard: name for shard in open if (name := self._recorded_job(shard)) is not None}
        fetched = fetch_jobs(self.client, set(names.values()))
        for error in {id(answer): answer for answer in fetched.values() if isinstance(answer, PASSING)}.values():
            if self.patient:
                log.warning("%s", error)
        return {shard: (name, fetched[name]) for shard, name in names.items()}

    def _ended(self, shards: Iterable[Shard], fetched: Mapping[Shard, tuple[str, Fetched]]) -> dict[Shard, Job]:
        """The shards that can be collected now, in their order, with their jobs."""
        return {
            shard: job
            for shard in shards
            if shard in fetched and not self.snapshot.has(shard.id, "landed")
            if isinstance(job := fetched[shard][1], Job) and is_settled(job)
        }

    def _download(self, jobs: Mapping[Shard, Job], shard: Shard) -> DownloadedShard:
        return download_shard(self.run, self.client, shard, jobs[shard], self.options, refused=self._refused(shard))

    def _decided(self, shard: Shard) -> tuple[Shard, ...] | None:
        """The shards in which rows of a landed shard were resubmitted; None while there is something to do for it."""
        if not self.snapshot.has(shard.id, "landed"):
            return None
        try:
            return self.snapshot.redrive(shard.id)
        except CorruptRunError:  # redrive() repairs it
            return None

    def _recorded_job(self, shard: Shard) -> str | None:
        """A torn record counts as none: submitting the shard repairs it."""
        try:
            return self.snapshot.job(shard.id)
        except CorruptRunError as torn:
            log.warning("%s", torn)
            return None

    def _settle(
        self, shard: Shard, fetched: Mapping[Shard, tuple[str, Fetched]], outputs: _Outputs
    ) -> tuple[ShardState, tuple[Shard, ...]]:
        """Take one shard as far as it can go now: its state, and the shards in which rows of it are resubmitted."""
        decided = self._decided(shard)
        if decided is not None:
            return ShardState(shard, "done"), decided
        if self.snapshot.has(shard.id, "landed") and (landed := self.snapshot.ledger.landed(shard.id)) is not None:
            return self._redrive(shard, landed)
        if shard in fetched:
            return self._settle_job(shard, *fetched[shard], outputs)
        if len(self._refused(shard)) >= shard.requests:  # none was made, or the service takes none of them
            return self._collect(shard, None, outputs)
        return ShardState(shard, "unsubmitted"), ()

    def _refused(self, shard: Shard) -> dict[str, str]:
        """The rows that the service refused to take, with its words."""
        return self.snapshot.ledger.refused(shard.id) if self.snapshot.has(shard.id, "refused") else {}

    def _settle_job(self, shard: Shard, name: str, fetched: Fetched, outputs: _Outputs) -> tuple[ShardState, tuple[Shard, ...]]:
        if self.patient and isinstance(fetched, PASSING):  # whatever waits for the job checks it again
            return ShardState(shard, "active", name), ()
        try:
            job = job_of(self.run, shard.id, name, fetched)
        except NotFoundError:
            if not self.options.resubmit_lost:
                raise
            log.warning("The service does not find %s of shard %s; its rows are resubmitted.", name, shard.id)
            return self._give_up(shard, name)
        if is_settled(job):
            return self._collect(shard, job, outputs)
        if job.is_terminal:
            return self._without_output(shard, job, unnamed_output(job))
        return ShardState(shard, "active", name, self._progress(shard, job), job), ()

    def _collect(self, shard: Shard, job: Job | None, outputs: _Outputs) -> tuple[ShardState, tuple[Shard, ...]]:
        try:
            landed = collect(
                self.run,
                self.client,
                shard,
                job,
                self.options,
                manifest=self.snapshot.manifest,
                refused=self._refused(shard),
                downloaded=outputs.get(shard),
            )
        except PASSING as error:
            if job is None:
                raise
            return self._without_output(shard, job, error)
        return self._redrive(shard, landed)

    def _without_output(self, shard: Shard, job: Job, error: ServiceError) -> tuple[ShardState, tuple[Shard, ...]]:
        """An output that cannot be had now is asked for again; after ``collect_timeout`` it is an error, or lost."""
        ended_at = self.snapshot.ledger.record_end(shard.id, job)
        left = ended_at + self.options.collect_timeout.total_seconds() - time.time()
        match without_output(error, left=left, resubmit_lost=self.options.resubmit_lost, patient=self.patient):
            case "error":
                raise error
            case "lost":
                log.warning("%s The unanswered rows of shard %s are resubmitted.", error, shard.id)
                with contextlib.suppress(ServiceError):  # what can be had of the output is paid for
                    download(self.run, self.client, shard, job, accept_partial=True)
                return self._give_up(shard, job.name, why=error)
        if is_settled(job):
            log.warning("%s The job of shard %s has ended; asking for its output again later.", error, shard.id)
            return ShardState(shard, "uncollected", wake_in=_ASK_AGAIN * (0.5 + random.random())), ()
        log.info("%s has ended and does not name its output yet.", job)
        return ShardState(shard, "uncollected", job.name, left if left > 0 else _ASK_AGAIN, job), ()

    def _give_up(self, shard: Shard, name: str, *, why: ServiceError | None = None) -> tuple[ShardState, tuple[Shard, ...]]:
        return self._redrive(shard, lost_job(self.run, shard, name, self.options, why=why))

    def _redrive(self, shard: Shard, landed: Landed) -> tuple[ShardState, tuple[Shard, ...]]:
        excess = None if self.budget is None else self.budget.excess_of_more
        try:
            pieces = redrive(self.run, self.snapshot.manifest, shard, self.options, landed=landed, excess=excess)
        except BudgetError as error:  # others may cost less than they might, which leaves room for it
            return ShardState(shard, "held", excess=error), ()
        self.snapshot.remember_redrive(shard.id, pieces)
        self.snapshot.remember_landed(shard.id, landed)
        return ShardState(shard, "done"), pieces

    def _progress(self, shard: Shard, job: Job) -> float | None:
        """Cancel a job that is stuck. Returns the seconds until it has to be checked for that again."""
        if self.options.resubmit_stuck_after is None:
            return None
        after = self.options.resubmit_stuck_after.total_seconds()
        left = stuck_in(self.run, shard.id, job, after=after)
        if left > 0 and not self._cancelled_as_stuck(shard):
            # Checked more often than needed, since progress is only seen when the job is fetched.
            return min(left, after / 4)
        # Repeated until the job has ended: the first request may have been lost.
        try:
            cancel_job(self.run, self.client, shard.id, job.name, why="stuck")
        except PASSING as error:
            if not self.patient:
                raise
            log.warning("%s", error)
        return _ASK_AGAIN

    def _cancelled_as_stuck(self, shard: Shard) -> bool:
        if not self.snapshot.has(shard.id, "cancel"):
            return False
        cancellation = self.snapshot.ledger.cancellation(shard.id)
        return cancellation is not None and cancellation.why == "stuck"
