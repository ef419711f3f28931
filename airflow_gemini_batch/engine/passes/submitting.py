"""The second half of a pass: jobs are created for shards that have none, as far as limits allow."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from airflow_gemini_batch.engine.errors import QuotaError
from airflow_gemini_batch.engine.gemini.quotas import likely_limit_of_run
from airflow_gemini_batch.engine.gemini.waits import wait_after
from airflow_gemini_batch.engine.passes.collecting import ShardState
from airflow_gemini_batch.engine.passes.this_pass import Pass
from airflow_gemini_batch.engine.run.layout import Shard
from airflow_gemini_batch.engine.run.many_files import may_overlap
from airflow_gemini_batch.engine.submit.submission import UPLOADS_AHEAD, Submission
from airflow_gemini_batch.engine.threads import Ahead
from airflow_gemini_batch.engine.wait.waiting import PASSING

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submitted:
    """What came of submitting: the new jobs, how many shards have to wait, and when to try again."""

    jobs: tuple[str, ...] = ()
    left: int = 0
    refusals: int = 0
    wake_in: float | None = None


@dataclass(frozen=True, slots=True)
class Submitting(Pass):
    """Submits in one pass."""

    def submit(self, states: Sequence[ShardState], refusals: int) -> Submitted:
        """Submit the shards that have no job, as far as ``max_active_jobs`` and the service's quota allow.

        Jobs are created one after the other, in order. Only uploads, which cost nothing, run ahead of that.

        :param refusals: how often in a row a submission has been refused.
        """
        shards = [state.shard for state in states if state.stage == "unsubmitted"]
        active = [state.shard for state in states if state.stage == "active"]
        if self._holds_back(states, shards):
            return Submitted((), len(shards), refusals)
        limit = len(shards) if self.options.max_active_jobs is None else self.options.max_active_jobs - len(active)
        allowed = shards[: max(limit, 0)]
        # This pass has counted the active jobs itself.
        options = replace(self.options, max_active_jobs=None)
        submission = Submission(self.run, self.snapshot.manifest, self.client, options, snapshot=self.snapshot)
        count = UPLOADS_AHEAD if may_overlap(self.run.destination) else 0
        jobs: list[str] = []
        all_refused = False
        with Ahead(allowed, submission.upload_ahead, ahead=count) as ahead:
            for shard in allowed:
                try:
                    record = submission.submit(shard, uploaded=functools.partial(ahead.take, shard))
                except PASSING as error:
                    if not (self.patient or isinstance(error, QuotaError)):
                        raise
                    refusals += 1
                    wait = wait_after(error, refusals, jitter=random.random())
                    left = len(shards) - len(jobs)
                    log.warning("%s %s Trying again in %.0f s.", error, self._size([*active, *shards[: len(jobs)]], left), wait)
                    return Submitted(tuple(jobs), left, refusals, wait)
                if record is None:  # the next pass writes its dead letters
                    all_refused = True
                    continue
                jobs.append(record.job)
                self.snapshot.remember_job(shard.id, record.job)
                refusals = 0
        stuck = self.options.resubmit_stuck_after
        wake_in = stuck.total_seconds() / 4 if jobs and stuck is not None else None
        if all_refused:
            wake_in = 0.0
        return Submitted(tuple(jobs), len(shards) - len(jobs), refusals, wake_in)

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
