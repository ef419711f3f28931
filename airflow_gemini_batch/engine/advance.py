"""One pass: taking a run as far as it can go now.

All that ``advance`` knows it reads from the run and the service, so it may be called by anyone, after any crash, any number of
times; whatever waits in between decides nothing.

A pass looks at each shard for itself. What has been paid for is collected first: a shard that fails keeps no other shard's
answers from landing, and the error comes at the end of the pass, before anything new is submitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from airflow_gemini_batch.engine.build.budget import Budget
from airflow_gemini_batch.engine.errors import BalanceError, UnsettledError
from airflow_gemini_batch.engine.finish.summary import Summary, finish_run, summary_of
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.passes.collecting import Collecting, ShardState
from airflow_gemini_batch.engine.passes.submitting import Submitted, Submitting
from airflow_gemini_batch.engine.report.summary_page import write_summary_page
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.wait.progress import Standing
from airflow_gemini_batch.engine.wait.unfinished import Waiting


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
        states = Collecting(run, client, options, snapshot, patient, budget).collect()
        submitted = Submitting(run, client, options, snapshot, patient, budget).submit(states, refusals)
        waiting = _waiting(states, submitted)
        if waiting.done < waiting.shards:
            waiting = replace(waiting, standing=_standing(snapshot, states))
        snapshot.save()
        if waiting.done < waiting.shards:
            return waiting
    try:
        return finish_run(run, max_dead_letter_ratio=options.max_dead_letter_ratio, draw=write_summary_page)
    except BalanceError as error:
        raise UnsettledError(f"{error} If another try of this task is running, run the same again when it has ended.") from error


def _waiting(states: Sequence[ShardState], submitted: Submitted) -> Waiting:
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


def _standing(snapshot: Snapshot, states: Sequence[ShardState]) -> Standing:
    """How far the run is, without what its waiting jobs have done so far."""
    asked = [state for state in states if state.shard.requests]
    done = [state.shard.id for state in asked if state.stage == "done"]
    snapshot.read(done, "landed")
    costs = [usd for part in done if (usd := snapshot.usd(part)) is not None]
    requests = sum(shard.requests for shard in snapshot.manifest.shards)
    return Standing(
        requests=requests,
        done=max(0, requests - sum(state.shard.requests for state in asked if state.stage != "done")),
        jobs=len(asked),
        jobs_done=len(done),
        usd=math.fsum(costs) if costs else None,
    )
