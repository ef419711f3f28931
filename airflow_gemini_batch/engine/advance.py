"""One pass: taking a run as far as it can go now.

All that ``advance`` knows it reads from the run and the service, so it may be called by anyone, after any crash, any number of
times; whatever waits in between decides nothing.

A pass looks at each shard for itself. What has been paid for is collected first: a shard that fails keeps no other shard's
answers from landing, and the error comes at the end of the pass, before anything new is submitted.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from airflow_gemini_batch.engine.build.budget import Budget
from airflow_gemini_batch.engine.collect.download import collect, download, lost_job, unnamed_output
from airflow_gemini_batch.engine.errors import (
    BalanceError,
    BudgetError,
    CorruptRunError,
    NotFoundError,
    QuotaError,
    ServiceError,
    UnsettledError,
    one_error,
)
from airflow_gemini_batch.engine.finish.redrive import redrive
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run, summary_of
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.job_fetching import Fetched, fetch_jobs
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.gemini.quotas import likely_limit_of_run
from airflow_gemini_batch.engine.gemini.waits import wait_after
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.report.summary_page import write_summary_page
from airflow_gemini_batch.engine.run.cancellation import cancel_job
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.ledger import Landed
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.submit.submission import Submission
from airflow_gemini_batch.engine.wait.in_flight import job_of, stuck_in
from airflow_gemini_batch.engine.wait.progress import Standing
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from airflow_gemini_batch.engine.wait.waiting import PASSING, is_settled, without_output

log = logging.getLogger(__name__)

#: Seconds until an output that the service could not give, or a cancellation, is asked for again.
_ASK_AGAIN = 60.0


def advance(
    run: Run,
    client: GeminiClient,
    options: BatchOptions,
    *,
    refusals: int = 0,
    patient: bool = False,
    max_cost_usd: float | None = None,
) -> Waiting | Summary:
    """Collect what has ended, submit what may be, finish when all is there.

    :param refusals: how often in a row a submission has been refused for quota, or not answered (from the last ``Waiting``).
    :param patient: whether an outage is waited out. Not in the first pass: the address may be wrong, so there it is an error.
    :param max_cost_usd: nothing is sent that may cost more, with what has been spent. What cannot be sent waits until the jobs in
        flight are collected; if there is no room then, BudgetError is raised.

    Returns the summary of a finished run, or what an unfinished one waits for. Raises ServiceError for what the service refuses,
    ShardsFailedError when several shards failed for different reasons, CorruptRunError, UnsettledError when another try is
    writing to the same run, and DeadLetterRatioError after everything has been written.
    """
    if summary_of(run) is None:
        snapshot = Snapshot(run, run.built())
        budget = None if max_cost_usd is None else Budget(run, snapshot, options, max_cost_usd)
        this_pass = _Pass(run, client, options, snapshot, patient, budget)
        states = this_pass.collect()
        submitted = this_pass.submit(states, refusals)
        waiting = _waiting(states, submitted)
        if waiting.done < waiting.shards:
            waiting = replace(waiting, standing=this_pass.standing(states))
        this_pass.snapshot.save()
        if waiting.done < waiting.shards:
            return waiting
    try:
        return finish_run(run, max_dead_letter_ratio=options.max_dead_letter_ratio, draw=write_summary_page)
    except BalanceError as error:
        raise UnsettledError(f"{error} If another try of this task is running, run the same again when it has ended.") from error


@dataclass(frozen=True, slots=True)
class _ShardState:
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
class _Submitted:
    """What came of submitting: the new jobs, how many shards have to wait, and when to try again."""

    jobs: tuple[str, ...] = ()
    left: int = 0
    refusals: int = 0
    wake_in: float | None = None


def _waiting(states: Sequence[_ShardState], submitted: _Submitted) -> Waiting:
    """What the run waits for, by where its shards stand."""
    active = [state.job for state in states if state.stage == "active" and state.job is not None]
    late = [state.job for state in states if state.stage == "uncollected" and state.job is not None]
    wakes = [seconds for seconds in (*(state.wake_in for state in states), submitted.wake_in) if seconds is not None]
    only_collecting = {state.stage for state in states} <= {"done", "uncollected"}
    return Waiting(
        jobs=(*active, *submitted.jobs, *late),
        retry_in=min(wakes, default=None),
        refusals=submitted.refusals,
        done=sum(state.stage == "done" for state in states),
        shards=len(states),
        only_collecting=only_collecting,
        late=tuple(late),
        seen=tuple(state.seen for state in states if state.seen is not None),
    )


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a pass works with; nothing in it changes but what the snapshot remembers."""

    run: Run
    client: GeminiClient
    options: BatchOptions
    snapshot: Snapshot
    patient: bool
    budget: Budget | None = None

    # --- collecting

    def collect(self) -> list[_ShardState]:
        """Collect every shard whose job has ended, and decide what is resubmitted. Raises at the end for those that failed."""
        states: list[_ShardState] = []
        failures: dict[Shard, Exception] = {}
        generation: list[Shard] = list(self.snapshot.manifest.shards)
        while generation:
            fetched = self._fetch(generation)
            resubmitted: list[Shard] = []
            for shard in generation:
                try:
                    state, pieces = self._settle(shard, fetched)
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

    def _held_before(self, state: _ShardState) -> list[_ShardState]:
        """A shard that was held is decided once more, when all others have been collected."""
        landed = self.snapshot.ledger.landed(state.shard.id) if state.stage == "held" else None
        if landed is None:
            return [state]
        state, pieces = self._redrive(state.shard, landed)
        return [state, *(_ShardState(piece, "unsubmitted") for piece in pieces)]

    def _fetch(self, shards: Iterable[Shard]) -> dict[Shard, tuple[str, Fetched]]:
        """The recorded jobs of the shards that have not been settled, by one fetch for all of them."""
        names: dict[Shard, str] = {}
        for shard in shards:
            if self._decided(shard) is None and (name := self._recorded_job(shard)) is not None:
                names[shard] = name
        fetched = fetch_jobs(self.client, set(names.values()))
        for error in {id(answer): answer for answer in fetched.values() if isinstance(answer, PASSING)}.values():
            if self.patient:
                log.warning("%s", error)
        return {shard: (name, fetched[name]) for shard, name in names.items()}

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

    def _settle(self, shard: Shard, fetched: Mapping[Shard, tuple[str, Fetched]]) -> tuple[_ShardState, tuple[Shard, ...]]:
        """Take one shard as far as it can go now: its state, and the shards in which rows of it are resubmitted."""
        decided = self._decided(shard)
        if decided is not None:
            return _ShardState(shard, "done"), decided
        if self.snapshot.has(shard.id, "landed") and (landed := self.snapshot.ledger.landed(shard.id)) is not None:
            return self._redrive(shard, landed)
        if shard in fetched:
            return self._settle_job(shard, *fetched[shard])
        if len(self._refused(shard)) >= shard.requests:  # none was made, or the service takes none of them
            return self._collect(shard, None)
        return _ShardState(shard, "unsubmitted"), ()

    def _refused(self, shard: Shard) -> dict[str, str]:
        """The rows that the service refused to take, with its words."""
        return self.snapshot.ledger.refused(shard.id) if self.snapshot.has(shard.id, "refused") else {}

    def _settle_job(self, shard: Shard, name: str, fetched: Fetched) -> tuple[_ShardState, tuple[Shard, ...]]:
        if self.patient and isinstance(fetched, PASSING):  # whatever waits for the job checks it again
            return _ShardState(shard, "active", name), ()
        try:
            job = job_of(self.run, shard.id, name, fetched)
        except NotFoundError:
            if not self.options.resubmit_lost:
                raise
            log.warning("The service does not find %s of shard %s; its rows are resubmitted.", name, shard.id)
            return self._give_up(shard, name)
        if is_settled(job):
            return self._collect(shard, job)
        if job.is_terminal:
            return self._without_output(shard, job, unnamed_output(job))
        return _ShardState(shard, "active", name, self._progress(shard, job), job), ()

    def _collect(self, shard: Shard, job: Job | None) -> tuple[_ShardState, tuple[Shard, ...]]:
        try:
            refused = self._refused(shard)
            landed = collect(self.run, self.client, shard, job, self.options, manifest=self.snapshot.manifest, refused=refused)
        except PASSING as error:
            if job is None:
                raise
            return self._without_output(shard, job, error)
        return self._redrive(shard, landed)

    def _without_output(self, shard: Shard, job: Job, error: ServiceError) -> tuple[_ShardState, tuple[Shard, ...]]:
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
            return _ShardState(shard, "uncollected", wake_in=_ASK_AGAIN * (0.5 + random.random())), ()
        log.info("%s has ended and does not name its output yet.", job)
        return _ShardState(shard, "uncollected", job.name, left if left > 0 else _ASK_AGAIN, job), ()

    def standing(self, states: Sequence[_ShardState]) -> Standing:
        """How far the run is, without what its waiting jobs have done so far."""
        asked = [state for state in states if state.shard.requests]
        done = [state.shard.id for state in asked if state.stage == "done"]
        costs = [usd for part in done if (usd := self.snapshot.usd(part)) is not None]
        requests = sum(shard.requests for shard in self.snapshot.manifest.shards)
        return Standing(
            requests=requests,
            done=max(0, requests - sum(state.shard.requests for state in asked if state.stage != "done")),
            jobs=len(asked),
            jobs_done=len(done),
            usd=math.fsum(costs) if costs else None,
        )

    def _give_up(self, shard: Shard, name: str, *, why: ServiceError | None = None) -> tuple[_ShardState, tuple[Shard, ...]]:
        return self._redrive(shard, lost_job(self.run, shard, name, self.options, why=why))

    def _redrive(self, shard: Shard, landed: Landed) -> tuple[_ShardState, tuple[Shard, ...]]:
        excess = None if self.budget is None else self.budget.excess_of_more
        try:
            pieces = redrive(self.run, self.snapshot.manifest, shard, self.options, landed=landed, excess=excess)
        except BudgetError as error:  # others may cost less than they might, which leaves room for it
            return _ShardState(shard, "held", excess=error), ()
        self.snapshot.remember_redrive(shard.id, pieces)
        self.snapshot.remember_landed(shard.id, landed)
        return _ShardState(shard, "done"), pieces

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

    # --- submitting

    def submit(self, states: Sequence[_ShardState], refusals: int) -> _Submitted:
        """Submit the shards that have no job, as far as ``max_active_jobs`` and the service's quota allow."""
        shards = [state.shard for state in states if state.stage == "unsubmitted"]
        active = sum(state.stage == "active" for state in states)
        if self._holds_back(states, shards):
            return _Submitted((), len(shards), refusals)
        limit = len(shards) if self.options.max_active_jobs is None else self.options.max_active_jobs - active
        # This pass has counted the active jobs itself.
        options = replace(self.options, max_active_jobs=None)
        submission = Submission(self.run, self.snapshot.manifest, self.client, options, snapshot=self.snapshot)
        jobs: list[str] = []
        all_refused = False
        for shard in shards[: max(limit, 0)]:
            try:
                record = submission.submit(shard)
                if record is None:  # the next pass writes its dead letters
                    all_refused = True
                    continue
                jobs.append(record.job)
                self.snapshot.remember_job(shard.id, record.job)
            except PASSING as error:
                if not (self.patient or isinstance(error, QuotaError)):
                    raise
                refusals += 1
                wait = wait_after(error, refusals, jitter=random.random())
                left = len(shards) - len(jobs)
                in_flight = [state.shard for state in states if state.stage == "active"] + shards[: len(jobs)]
                log.warning("%s %s Trying again in %.0f s.", error, self._size(in_flight, left), wait)
                return _Submitted(tuple(jobs), left, refusals, wait)
            refusals = 0
        stuck = self.options.resubmit_stuck_after
        wake_in = stuck.total_seconds() / 4 if jobs and stuck is not None else None
        if all_refused:
            wake_in = 0.0
        return _Submitted(tuple(jobs), len(shards) - len(jobs), refusals, wake_in)

    def _holds_back(self, states: Sequence[_ShardState], shards: Sequence[Shard]) -> bool:
        """Whether the shards wait, because they may cost too much. Raises BudgetError when nothing is left to wait for."""
        excess = self.budget.excess(shards) if self.budget is not None and shards else None
        if excess is None and not shards:
            excess = next((state.excess for state in states if state.excess is not None), None)
        if excess is None:
            return False
        if not any(state.stage in ("active", "uncollected") for state in states):
            self.snapshot.save()
            raise excess
        log.warning("%s It is compared again when the jobs in flight have been collected.", excess)
        return True

    def _size(self, in_flight: Sequence[Shard], left: int) -> str:
        megabytes = sum(shard.bytes for shard in self.snapshot.shards()) / 1e6
        size = f"This run has {len(in_flight)} jobs active and {left} to come, {megabytes:.0f} MB of requests in all."
        return f"{size} {likely_limit_of_run(len(in_flight), sum(shard.bytes for shard in in_flight))}".rstrip()
