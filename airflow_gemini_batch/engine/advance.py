"""One pass: taking a run as far as it can go now.

All that ``advance`` knows it reads from the run and the service, so it may be called by anyone, after any crash, any number of
times; whatever waits in between decides nothing.

A pass looks at each shard for itself. What has been paid for is collected first: a shard that fails keeps no other shard's
answers from landing, and the error comes at the end of the pass, before anything new is submitted.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from airflow_gemini_batch.engine.build.budget import Budget
from airflow_gemini_batch.engine.errors import BalanceError, QuotaError, UnsettledError
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run, summary_of
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.quotas import likely_limit_of_run
from airflow_gemini_batch.engine.gemini.waits import wait_after
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.passes.collecting import Collecting, ShardState
from airflow_gemini_batch.engine.report.summary_page import write_summary_page
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.many_files import may_overlap
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.submit.submission import UPLOADS_AHEAD, Submission
from airflow_gemini_batch.engine.threads import Ahead
from airflow_gemini_batch.engine.wait.progress import Standing
from airflow_gemini_batch.engine.wait.unfinished import Waiting
from airflow_gemini_batch.engine.wait.waiting import PASSING

log = logging.getLogger(__name__)


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
        states = Collecting(run, client, options, snapshot, patient, budget).collect()
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
class _Submitted:
    """What came of submitting: the new jobs, how many shards have to wait, and when to try again."""

    jobs: tuple[str, ...] = ()
    left: int = 0
    refusals: int = 0
    wake_in: float | None = None


def _waiting(states: Sequence[ShardState], submitted: _Submitted) -> Waiting:
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
    """What a pass submits with; nothing in it changes but what the snapshot remembers."""

    run: Run
    client: GeminiClient
    options: BatchOptions
    snapshot: Snapshot
    patient: bool
    budget: Budget | None = None

    def standing(self, states: Sequence[ShardState]) -> Standing:
        """How far the run is, without what its waiting jobs have done so far."""
        asked = [state for state in states if state.shard.requests]
        done = [state.shard.id for state in asked if state.stage == "done"]
        self.snapshot.read(done, "landed")
        costs = [usd for part in done if (usd := self.snapshot.usd(part)) is not None]
        requests = sum(shard.requests for shard in self.snapshot.manifest.shards)
        return Standing(
            requests=requests,
            done=max(0, requests - sum(state.shard.requests for state in asked if state.stage != "done")),
            jobs=len(asked),
            jobs_done=len(done),
            usd=math.fsum(costs) if costs else None,
        )

    def submit(self, states: Sequence[ShardState], refusals: int) -> _Submitted:
        """Submit the shards that have no job, as far as ``max_active_jobs`` and the service's quota allow.

        Jobs are created one after the other, in order. Only uploads, which cost nothing, run ahead of that.
        """
        with contextlib.ExitStack() as uploads:
            return self._submit(states, refusals, uploads)

    def _submit(self, states: Sequence[ShardState], refusals: int, uploads: contextlib.ExitStack) -> _Submitted:
        shards = [state.shard for state in states if state.stage == "unsubmitted"]
        active = sum(state.stage == "active" for state in states)
        if self._holds_back(states, shards):
            return _Submitted((), len(shards), refusals)
        limit = len(shards) if self.options.max_active_jobs is None else self.options.max_active_jobs - active
        # This pass has counted the active jobs itself.
        options = replace(self.options, max_active_jobs=None)
        submission = Submission(self.run, self.snapshot.manifest, self.client, options, snapshot=self.snapshot)
        count = UPLOADS_AHEAD if may_overlap(self.run.destination) else 0
        ahead = uploads.enter_context(Ahead(shards[: max(limit, 0)], submission.upload_ahead, ahead=count))
        jobs: list[str] = []
        all_refused = False
        for shard in shards[: max(limit, 0)]:
            try:
                record = submission.submit(shard, uploaded=functools.partial(ahead.take, shard))
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

    def _holds_back(self, states: Sequence[ShardState], shards: Sequence[Shard]) -> bool:
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
