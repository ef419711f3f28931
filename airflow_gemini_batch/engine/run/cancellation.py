"""Cancelling the jobs of a run.

The ledger says so before the service is asked: rows left unfinished by a job that this package cancelled are resubmitted when
the run goes on, so no crash may leave a cancelled job without that record.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from airflow_gemini_batch.engine.errors import ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.job_fetching import fetch_jobs
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.run.layout import Run, Shard, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.tokens import token_of, token_of_display_name

log = logging.getLogger(__name__)


def cancel_job(run: Run, client: GeminiClient, part: ShardAttempt, name: str, *, why: str) -> None:
    """Ask for the end of one job. It may end well all the same, so it is fetched before anything is resubmitted.

    :param why: killed, timeout, stuck or replaced.
    """
    Ledger(run).record_cancellation(part, why)
    client.cancel_job(name)
    log.info("Cancelled %s of shard %s (%s).", name, part, why)


def cancel_run(run: Run, client: GeminiClient, *, why: str) -> list[str]:
    """Cancel the jobs of this run that are still running, and return their names. What has ended can still be collected.

    :param why: killed, timeout or replaced.
    """
    manifest = run.manifest()
    if manifest is None:
        return []
    snapshot = Snapshot(run, manifest)
    recorded = snapshot.in_flight()
    fetched = fetch_jobs(client, list(recorded.values()))
    running = {shard: name for shard, name in recorded.items() if _may_run(fetched[name])}
    cancelled = _cancel_each(run, client, running, why=why)
    return cancelled + _cancel_each(run, client, _unrecorded(snapshot, client), why=why)


def announce_cancellation(run: Run, jobs: Collection[str], *, why: str) -> list[str]:
    """Write into the ledger what ``cancel_run`` would, for a caller that then cancels these jobs itself.

    Returns the jobs that the ledger does not know: the run may lie where this process cannot see it.
    """
    manifest = run.manifest()
    recorded = Snapshot(run, manifest).in_flight() if manifest is not None else {}
    known = {name: shard for shard, name in recorded.items()}
    for name in jobs:
        if name in known:
            Ledger(run).record_cancellation(known[name].id, why)
    return [name for name in jobs if name not in known]


def _may_run(fetched: Job | ServiceError | None) -> bool:
    """Whether it is worth cancelling: a job that could not be fetched may be running."""
    return isinstance(fetched, ServiceError) or (fetched is not None and not fetched.is_terminal)


def _cancel_each(run: Run, client: GeminiClient, running: Mapping[Shard, str], *, why: str) -> list[str]:
    cancelled: list[str] = []
    for shard, name in running.items():
        try:
            cancel_job(run, client, shard.id, name, why=why)
        except ServiceError as error:  # one that cannot be cancelled must not keep the others running
            log.warning("%s It may run on and be billed.", error)
        else:
            cancelled.append(name)
    return cancelled


def _unrecorded(snapshot: Snapshot, client: GeminiClient) -> dict[Shard, str]:
    """The running jobs whose creator was interrupted before it could record them; they are recorded now."""
    shards = {token_of(snapshot.manifest, shard): shard for shard in snapshot.claimed(since=0.0)}
    if not shards:
        return {}
    found: dict[Shard, str] = {}
    for job in client.list_jobs():
        token = token_of_display_name(job.display_name) or ""
        if token in shards and not job.is_terminal:
            found[shards[token]] = snapshot.ledger.record(shards[token].id, token, job, adopted=True).job
    return found
