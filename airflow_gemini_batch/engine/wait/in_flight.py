"""The jobs of a run that are in flight: looking at them, ending them, and noticing that they stand still."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence

from airflow_gemini_batch.engine.collect.download import landed
from airflow_gemini_batch.engine.errors import CorruptRunError, NotFoundError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.run.layout import Run, Shard, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Ledger, Seen, Submitted, token_of, token_of_display_name
from airflow_gemini_batch.engine.wait.waiting import is_settled

log = logging.getLogger(__name__)


def look(client: GeminiClient, names: Sequence[str]) -> dict[str, Job | None]:
    """The jobs as they are now; None for one that the service does not find.

    They are read from the listing, page by page, for as long as that costs fewer requests than to ask for what is left by name;
    then that is done. A listing holds no answers, which an inline job that has ended would bring with each look.
    """
    found: dict[str, Job | None] = {}
    left = set(names)
    token: str | None = None
    pages = 0
    while left:
        jobs, token = client.page_of_jobs(token)
        pages += 1
        found.update({job.name: job for job in jobs if job.name in left})
        left -= found.keys()
        if token is None or pages >= len(left):
            break
    for name in sorted(left):
        try:
            found[name] = client.get_job(name)
        except NotFoundError:
            found[name] = None
    return found


def look_at(run: Run, client: GeminiClient, part: ShardAttempt, name: str) -> Job:
    """One job as it is now, or as it was when it was last seen to have ended. Raises NotFoundError."""
    job = look(client, [name])[name] or remembered(Ledger(run), part)
    if job is None:
        raise lost(run, part, name)
    return job


def remembered(ledger: Ledger, part: ShardAttempt) -> Job | None:
    """The job as it ended, where that is enough to collect it."""
    job = ledger.ended(part)
    return job if job is not None and is_settled(job) else None


def in_flight(run: Run) -> dict[Shard, str]:
    """The shards whose job has not been collected, as far as the ledger knows, with the job's name."""
    manifest = run.manifest()
    if manifest is None:
        return {}
    ledger = Ledger(run)
    uncollected = (shard for shard in ledger.shards(manifest) if landed(run, shard) is None)
    return {shard: record.job for shard in uncollected if (record := recorded(ledger, shard)) is not None}


def recorded(ledger: Ledger, shard: Shard) -> Submitted | None:
    """A shard's job as the ledger has it. A torn record is as good as none: who submits the shard looks for its job."""
    try:
        return ledger.submitted(shard.id)
    except CorruptRunError as torn:
        log.warning("%s", torn)
        return None


def cancel_run(run: Run, client: GeminiClient, *, why: str) -> list[str]:
    """Cancel the jobs of this run that still run, and name them. What has ended stays as it is and can be collected.

    The ledger says so first: what these jobs leave undone is sent again when the run goes on.

    :param why: killed, timeout or replaced.
    """
    flying = in_flight(run)
    jobs = look(client, list(flying.values()))
    running = {shard: name for shard, name in flying.items() if (job := jobs[name]) is not None and not job.is_terminal}
    cancelled = _cancel_all(run, client, running, why=why)
    return cancelled + _cancel_all(run, client, _unrecorded(run, client), why=why)


def announce_cancellation(run: Run, jobs: Collection[str], *, why: str) -> list[str]:
    """Write into the ledger what ``cancel_run`` would, for one who then cancels these jobs himself.

    Returns those that the ledger does not know: the run may lie where this process cannot see it.
    """
    known = {name: shard for shard, name in in_flight(run).items()}
    for name in jobs:
        if name in known:
            Ledger(run).record_cancellation(known[name].id, why)
    return [name for name in jobs if name not in known]


def _cancel_all(run: Run, client: GeminiClient, running: dict[Shard, str], *, why: str) -> list[str]:
    cancelled: list[str] = []
    for shard, name in running.items():
        try:
            cancel(run, client, shard.id, name, why=why)
        except ServiceError as error:  # one that cannot be cancelled must not keep the others alive
            log.warning("%s It may run on and be billed.", error)
        else:
            cancelled.append(name)
    return cancelled


def _unrecorded(run: Run, client: GeminiClient) -> dict[Shard, str]:
    """The jobs whose creator was interrupted before it could record them; they are recorded now."""
    manifest = run.manifest()
    ledger = Ledger(run)
    claimed = ledger.claimed(manifest, since=0.0) if manifest is not None else []
    if manifest is None or not claimed:
        return {}
    shards = {token_of(manifest, shard): shard for shard in ledger.shards(manifest) if shard.id in claimed}
    found: dict[Shard, str] = {}
    for job in client.list_jobs():
        token = token_of_display_name(job.display_name) or ""
        if token in shards and not job.is_terminal:
            found[shards[token]] = ledger.record(shards[token].id, token, job, adopted=True).job
    return found


def cancel(run: Run, client: GeminiClient, part: ShardAttempt, name: str, *, why: str) -> None:
    """Ask for the end of one job. It may end well all the same: whoever goes on looks before anything is sent again."""
    Ledger(run).record_cancellation(part, why)
    client.cancel_job(name)
    log.info("Cancelled %s of shard %s (%s).", name, part, why)


def stuck_in(run: Run, part: ShardAttempt, job: Job, *, after: float, now: float | None = None) -> float:
    """Seconds until this job counts as stuck; 0 or less: it does now.

    :param after: seconds without progress: neither its state nor its counts of done requests have changed.
    """
    now = time.time() if now is None else now
    ledger = Ledger(run)
    seen = ledger.seen(part)
    done = job.stats.succeeded + job.stats.failed
    if seen is None or (seen.state, seen.done) != (job.wire_state, done):
        ledger.record_seen(part, Seen(job.wire_state, done, now))
        return after
    return seen.since + after - now


def lost(run: Run, part: ShardAttempt, name: str) -> NotFoundError:
    return NotFoundError(
        f"Shard {part} was submitted as {name}, and the service does not find that job. It is visible only to keys of the "
        "project that made it: check that the connection's key is the one that submitted. Nothing was submitted again, because "
        "a job that cannot be seen may still run. If it is lost for sure, say resubmit_lost=True: its rows are then paid once "
        "more.",
        code=404,
    )
