"""One shard and one attempt become exactly one batch job.

Three rules carry the promise and must not be relaxed:
an intent is durable and exclusively ours before the request that may cost money leaves,
an unanswered create is followed by looking, never by creating again,
and a listing is believed only after it has had time to show what an earlier try may have created.

The one window that stays open: a claimant that is frozen (not dead) between its last look at the clock and its create, for
longer than lease and settling time together, and then wakes up. Its job is found when it records it, and cancelled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    CorruptRunError,
    NamelessJobError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ServiceError,
    UnreachableError,
)
from airflow_gemini_batch.engine.gemini.caches import require_lasting
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.jobs import Job, JobState
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import (
    Intent,
    Ledger,
    Submitted,
    display_name,
    input_file_name,
    is_for,
    token_of,
)
from airflow_gemini_batch.engine.submit.inline import goes_inline, inline_requests
from airflow_gemini_batch.engine.submit.media_upload import send_media
from airflow_gemini_batch.engine.wait.in_flight import look

log = logging.getLogger(__name__)

#: Beyond this, two machines' clocks do not differ: an older claim is judged by its own time stamp.
_CLOCK_SKEW = 600.0
#: Seconds between two looks at the listing while it settles.
_LOOK_EVERY = 2.0
#: An ambiguous create is tried again this often, each time only after looking.
_MOST_CREATES = 5


@dataclass(frozen=True, slots=True)
class Submission:
    """Submits the shards of one run.

    :param sleep, clock: ``time.sleep`` and ``time.time``, to be replaced where time is simulated.
    """

    run: Run
    manifest: Manifest
    client: GeminiClient
    options: BatchOptions
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.run)

    def submit(self, shard: Shard) -> Submitted:
        """The one job of this shard and attempt: the recorded one, one that an earlier try created, or a new one.

        Raises QuotaError (nothing was created; try later), RefusedError (nothing was created; repeating is of no use),
        OutcomeUnknownError (call again: the next call looks before it creates), NamelessJobError (a job may have been created,
        and the listing does not show it).
        """
        token = token_of(self.manifest, shard)
        try:
            known = self.ledger.submitted(shard.id)
        except CorruptRunError as torn:
            return self._repair(shard, token, torn)
        if known is not None:
            return known
        intent = self._intent(shard)
        if intent is not None:
            found = self._look_for(shard, token, since=intent)
            if found is not None:
                return found
        self._require_room(shard)
        require_lasting(self.manifest.request, self.manifest.model, self.client.endpoint, now=self.clock())
        send_media(self.run, shard, self.client, now=self.clock)
        input_file = None if goes_inline(shard, self.options.transport) else self._upload(shard, token)
        failure: ServiceError | None = None
        generation = intent.generation if intent else 0
        for _ in range(_MOST_CREATES):
            generation += 1
            claim = self.ledger.claim(shard.id, token, generation)
            if claim is not None:
                try:
                    self._require_room(shard, claim)
                    return self._create(shard, token, input_file, claim)
                except (OutcomeUnknownError, NamelessJobError) as error:
                    log.warning("%s. Looking for the job before anything else.", error)
                    failure = error
                    found = self._look_for(shard, token, since=None)
                    if found is None and isinstance(error, NamelessJobError):
                        raise _not_again(error) from error
            else:
                log.info("Another try is submitting shard %s; waiting for its job.", shard.id)
                found = self._look_for(shard, token, since=self.ledger.intent(shard.id))
            if found is not None:
                return found
        raise failure or OutcomeUnknownError(
            f"Shard {shard.id} could not be submitted: {_MOST_CREATES} claims by other tries came to nothing. Run the same again."
        )

    def _intent(self, shard: Shard) -> Intent | None:
        """The latest claim; one that cannot be read may be as young as a claim can be."""
        try:
            return self.ledger.intent(shard.id)
        except CorruptRunError as torn:
            log.warning("%s Taken for a claim that somebody has just made.", torn)
            return Intent("", self.ledger.generation(shard.id), self.clock(), "unknown")

    def _repair(self, shard: Shard, token: str, torn: CorruptRunError) -> Submitted:
        """A torn record says that there is a job; the service knows its name."""
        twins = [job for job in self.client.list_jobs() if is_for(job, token)]
        if not twins:
            raise torn
        record = Submitted(token, choose(twins)[0].name, input_file_name(token), self.clock(), adopted=True)
        self.ledger.repair_job(shard.id, record)
        log.warning("%s Repaired: the service knows it as %s.", torn, record.job)
        return record

    def _require_room(self, shard: Shard, claim: Intent | None = None) -> None:
        """Raise QuotaError, and withdraw the claim, while too many jobs of the run are in flight.

        With a claim, other tasks' claims count too, and the lower shard goes first: so the limit holds, and somebody gets on.
        """
        if self.options.max_active_jobs is None:
            return
        flying = self.ledger.flying(self.manifest)
        if len(flying) >= self.options.max_active_jobs:
            flying = self._still_flying(flying)
        ahead = len(flying)
        if claim is not None:
            fresh = self.clock() - self.options.claim_lease - self.options.listing_lag
            ahead += sum(part < shard.id for part in self.ledger.claimed(self.manifest, since=fresh) if part not in flying)
        if ahead >= self.options.max_active_jobs:
            if claim is not None:
                self.ledger.withdraw(shard.id, claim)
            raise QuotaError(
                f"{ahead} jobs of this run are active, max_active_jobs is {self.options.max_active_jobs}; "
                f"shard {shard.id} has to wait.",
                code=None,
            )

    def _still_flying(self, flying: dict[ShardAttempt, str]) -> dict[ShardAttempt, str]:
        """Those that have not ended and are not gone."""
        jobs = look(self.client, list(flying.values()))
        for part, name in flying.items():
            if (job := jobs[name]) is not None and job.is_terminal:
                self.ledger.record_end(part, job)
        return {part: name for part, name in flying.items() if (job := jobs[name]) is not None and not job.is_terminal}

    def _create(self, shard: Shard, token: str, input_file: str | None, claim: Intent) -> Submitted:
        share = self.options.claim_lease / 3
        if self.clock() - claim.claimed_at > share:
            raise OutcomeUnknownError(f"This process stood still for {share:.0f} s with a claim on shard {shard.id}")
        try:
            job = self.client.create_job(
                model=self.manifest.model,
                display_name=display_name(token, shard),
                input_file=input_file,
                requests=inline_requests(self.run, shard) if input_file is None else None,
                embeds=self.manifest.embeds,
                timeout=share,
            )
        except (QuotaError, RefusedError, ApiKeyError, UnreachableError):  # nothing was created
            self.ledger.withdraw(shard.id, claim)
            raise
        return self._record(shard, token, job, adopted=False, input_file=input_file)

    def _record(self, shard: Shard, token: str, job: Job, *, adopted: bool, input_file: str | None = None) -> Submitted:
        record = self.ledger.record(shard.id, token, job, adopted=adopted, input_file=input_file)
        if record.job == job.name:
            log.info("Shard %s: %s %s (%d requests).", shard.id, "adopted" if adopted else "created", job.name, shard.requests)
        else:
            log.warning("Shard %s has %s already; cancelling the second job %s.", shard.id, record.job, job.name)
            self.client.cancel_job(job.name)
        return record

    def _look_for(self, shard: Shard, token: str, *, since: Intent | None) -> Submitted | None:
        """Look for a job that someone may have created, until the answer "there is none" can be believed.

        :param since: the claim of another try; None when the create was our own and is over.
        """
        until = self.clock() + patience(since, now=self.clock(), options=self.options)
        while True:
            began = self.clock()
            record = self.ledger.submitted(shard.id)
            if record is not None:
                return record
            twins = [job for job in self.client.list_jobs() if is_for(job, token)]
            if twins:
                chosen, others = choose(twins)
                for job in others:
                    log.warning("Shard %s has more than one job; keeping %s, cancelling %s.", shard.id, chosen.name, job.name)
                    self.client.cancel_job(job.name)
                return self._record(shard, token, chosen, adopted=True)
            if began >= until:  # one that began earlier may have been read before it could show the job, however late it ended
                return None
            self.sleep(max(0.0, min(_LOOK_EVERY, until - self.clock())))

    def _upload(self, shard: Shard, token: str) -> str:
        """The name of the uploaded input file: sent by an earlier try, or now."""
        name = input_file_name(token)
        if self._is_there(name, shard):
            log.info("Shard %s is uploaded already as %s.", shard.id, name)
            return name
        requests = self.run.requests_file(shard.id)
        if (found := requests.sha256()) != shard.sha256:
            raise CorruptRunError(
                f"{requests} has sha256 {found[:12]}…, the manifest says {shard.sha256[:12]}…: it was changed after the build. "
                "Nothing was sent. Restore it, or start anew with if_exists='replace'."
            )
        log.info("Uploading shard %s: %d requests, %.1f MB.", shard.id, shard.requests, shard.bytes / 1e6)
        with requests.open() as file:
            try:
                return self.client.upload(file, name=name, display_name=display_name(token, shard)).name
            except RefusedError as error:
                if error.code != 409:
                    raise
                if self._is_there(name, shard):  # another try was faster
                    return name
                log.warning("The file name %s is taken by something that cannot be used; the service chooses one.", name)
                return self.client.upload(file, name=None, display_name=display_name(token, shard)).name

    def _is_there(self, name: str, shard: Shard) -> bool:
        file = self.client.get_file(name)
        return file is not None and file.is_usable and file.size == shard.bytes and file.sha256 in (None, shard.sha256)


def patience(since: Intent | None, *, now: float, options: BatchOptions) -> float:
    """Seconds to look for a job before believing that there is none.

    After our own create only the listing must settle. Another try may still hold its lease; its clock may differ from ours,
    so a recent claim is given the whole lease from now, and only one that is older than any skew is judged by its stamp.
    """
    if since is None:
        return options.listing_lag
    if now - since.claimed_at > options.claim_lease + options.listing_lag + _CLOCK_SKEW:
        return 0.0
    return options.claim_lease + options.listing_lag


def _not_again(error: NamelessJobError) -> NamelessJobError:
    return NamelessJobError(
        f"{error} The listing does not show it, and no second one was created: each may be paid. Is the connection's host the "
        "Gemini API? Look for the job there. When it is certain that there is none, run the same again: it looks once more, then "
        "creates.",
        code=error.code,
    )


def choose(twins: Iterable[Job]) -> tuple[Job, list[Job]]:
    """Which of several jobs for the same requests to keep, and which of the others still have to be cancelled.

    The oldest that is alive or ended well; where none is, the oldest.
    """
    dead = (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
    ordered = sorted(twins, key=lambda job: (job.state in dead, job.create_time, job.name))
    return ordered[0], [job for job in ordered[1:] if not job.is_terminal]
