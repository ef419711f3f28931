"""Looking for a job that an interrupted or unanswered create may have made, before anything else is created."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.ledger import Intent

log = logging.getLogger(__name__)

#: Beyond this, two machines' clocks do not differ: an older claim is judged by its own time stamp.
_CLOCK_SKEW = 600.0

#: Seconds between two listings while the service's listing settles.
_LIST_EVERY = 2.0


def search_job(
    client: GeminiClient,
    is_ours: Callable[[Job], bool],
    *,
    until: float,
    known: Callable[[], str | None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Job | str | None:
    """List the jobs until one is ours, or until "there is none" can be believed. Duplicates that still run are cancelled.

    :param until: seconds since the epoch. Only a listing that began at or after this time may show that there is none: one that
        began earlier may have been read before it could show the job, however late it ended.
    :param known: asked before each listing; the name it returns ends the search, as when another try has recorded its job.
    """
    while True:
        began = clock()
        if (name := known()) is not None:
            return name
        found = [job for job in client.list_jobs() if is_ours(job)]
        if found:
            chosen, others = choose(found)
            for job in others:
                log.warning("Several jobs were created for the same requests; keeping %s, cancelling %s.", chosen.name, job.name)
                client.cancel_job(job.name)
            return chosen
        if began >= until:
            return None
        sleep(max(0.0, min(_LIST_EVERY, until - clock())))


def choose(duplicates: Iterable[Job]) -> tuple[Job, list[Job]]:
    """Which of several jobs for the same requests to keep, and which of the others still have to be cancelled.

    The oldest that is running or ended well; where there is none, the oldest.
    """
    failed = (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
    ordered = sorted(duplicates, key=lambda job: (job.state in failed, job.create_time, job.name))
    return ordered[0], [job for job in ordered[1:] if not job.is_terminal]


def patience(claim: Intent | None, *, now: float, options: BatchOptions) -> float:
    """Seconds to look for a job before believing that there is none.

    After our own create only the listing must settle. Another try may still hold its lease; its clock may differ from ours,
    so a recent claim is given the whole lease from now, and only one that is older than any skew is judged by its stamp.

    :param claim: the claim of another try; None when the create was our own and is over.
    """
    if claim is None:
        return options.listing_lag
    if now - claim.claimed_at > options.claim_lease + options.listing_lag + _CLOCK_SKEW:
        return 0.0
    return options.claim_lease + options.listing_lag
