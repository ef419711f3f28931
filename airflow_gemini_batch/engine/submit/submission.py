"""One shard and one attempt become exactly one batch job.

Three rules carry the promise and must not be relaxed:
an intent is durable and exclusively ours before the request that may cost money is sent,
an unanswered create is followed by a search for its job, never by another create,
and a listing is believed only after it has had time to show what an earlier try may have created.

One window stays open: a claimant that is paused (not killed) between its last look at the clock and its create, for longer than
``claim_lease`` and ``listing_lag`` together, and then resumes. Its job is found when it records it, and cancelled.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airflow_gemini_batch.engine.errors import (
    ApiKeyError,
    CorruptRunError,
    NamelessJobError,
    NoRoomError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ServiceError,
    UnreachableError,
)
from airflow_gemini_batch.engine.gemini.caches import require_lasting
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.gemini.job_fetching import Fetched, fetch_jobs
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt
from airflow_gemini_batch.engine.run.ledger import Intent, Ledger, Submitted
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.tokens import display_name, input_file_name, is_for, token_of, token_of_display_name
from airflow_gemini_batch.engine.slots.slots import HeldSlot, Slots
from airflow_gemini_batch.engine.slots.state import Demand
from airflow_gemini_batch.engine.submit.demand import demand_of
from airflow_gemini_batch.engine.submit.inline import goes_inline, inline_requests
from airflow_gemini_batch.engine.submit.job_search import choose, patience, search_job
from airflow_gemini_batch.engine.submit.media_upload import send_media
from airflow_gemini_batch.engine.submit.refused_rows import Outgoing, refused_rows

log = logging.getLogger(__name__)

#: Input files that are uploaded beyond the shard that is being submitted: enough to keep the connection busy while a create is
#: answered, few enough not to fill the service's storage of files.
UPLOADS_AHEAD = 2

#: The largest input file that is uploaded ahead where runs share limits: each of them may then wait for a slot with two files in
#: the project's 20 GB.
_AHEAD_BYTES = 64 << 20

#: Creates that are tried when their outcome is unknown, each of them only after a search.
_MOST_CREATES = 5


def _not_yet() -> None:
    """The input file of a shard was not uploaded ahead."""


@dataclass(frozen=True, slots=True)
class Submission:
    """Submits the shards of one run.

    :param snapshot: of this pass; saves a listing for each shard. Default: none, the ledger is listed.
    :param sleep, clock: ``time.sleep`` and ``time.time``, to be replaced where time is simulated.
    """

    run: Run
    manifest: Manifest
    client: GeminiClient
    options: BatchOptions
    snapshot: Snapshot | None = None
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.run, self.clock)

    def upload_ahead(self, shard: Shard) -> str | None:
        """Upload the input file of a shard before it is its turn to be submitted. Returns its name.

        None where it has to wait for ``submit``: when a job was, or may have been, created for it, and when it is large while
        other runs may have to go first. An upload costs nothing, and
        one that is there is found, so nothing is decided or recorded here.
        """
        is_large = self.client.endpoint.limits is not None and shard.bytes > _AHEAD_BYTES
        if is_large or goes_inline(shard, self.options.transport):
            return None
        if self.snapshot is not None and (self.snapshot.has(shard.id, "job") or self.snapshot.has(shard.id, "intent")):
            return None
        outgoing = Outgoing(self.run, shard, self._refused_before(shard))
        return None if outgoing.is_empty else self._upload(outgoing, token_of(self.manifest, shard))

    def submit(self, shard: Shard, *, uploaded: Callable[[], str | None] = _not_yet) -> Submitted | None:
        """The one job of this shard and attempt: the recorded one, one that an earlier try created, or a new one.

        Rows that the service refuses by name are recorded in the ledger and left out; None when no row is left to send.

        :param uploaded: what ``upload_ahead`` has returned; asked when its turn has come. Default: it is uploaded now.

        Raises QuotaError (nothing was created; try later), RefusedError (nothing was created; repeating the call does not help),
        OutcomeUnknownError (call again: the next call searches before it creates), NamelessJobError (a job may have been
        created, and the listing does not show it).
        """
        refused = self._refused_before(shard)
        while True:
            outgoing = Outgoing(self.run, shard, refused)
            if outgoing.is_empty:
                return None
            try:
                return self._submit(shard, outgoing, uploaded)
            except RefusedError as error:
                rows = refused_rows(error, outgoing.keys()) if error.code == 400 else {}
                if not rows:
                    raise type(error)(
                        f"Shard {shard.id}: {error}", code=error.code, status=error.status, service_message=error.received_message
                    ) from error
                refused, uploaded = self._leave_out(shard, rows), _not_yet

    def _refused_before(self, shard: Shard) -> dict[str, str]:
        if self.snapshot is not None and not self.snapshot.has(shard.id, "refused"):
            return {}
        return self.ledger.refused(shard.id)

    def _leave_out(self, shard: Shard, rows: Mapping[str, str]) -> dict[str, str]:
        """Record the rows that a refusal names, so that the others can be sent. Returns all that were refused."""
        log.warning(
            "Shard %s: the service refuses %d of %d requests, which become dead letters; the others are sent. %s",
            shard.id,
            len(rows),
            shard.requests,
            "; ".join(f"{key!r}: {words[:200]}" for key, words in list(rows.items())[:5]),
        )
        refused = self.ledger.record_refused(shard.id, rows)
        with contextlib.suppress(ServiceError):  # the refused input file expires by itself
            self.client.delete_file(input_file_name(token_of(self.manifest, shard)))
        return refused

    def _submit(self, shard: Shard, outgoing: Outgoing, uploaded: Callable[[], str | None]) -> Submitted:
        token = token_of(self.manifest, shard)
        try:
            known = self.ledger.submitted(shard.id)
        except CorruptRunError as torn:
            return self._repair(shard, token, torn)
        if known is not None:
            return known
        intent = self._intent(shard)
        if intent is not None:
            found = self._search(shard, token, claim=intent)
            if found is not None:
                return found
        self._require_room(shard)
        demand = self._demand(shard)
        self._take_slot(shard, token, demand)
        require_lasting(self.manifest.request, self.manifest.model, self.client.endpoint, now=self.clock())
        send_media(self.run, shard, self.client, self.manifest.request, now=self.clock)
        input_file = None if goes_inline(shard, self.options.transport) else uploaded() or self._upload(outgoing, token)
        failure: ServiceError | None = None
        generation = intent.generation if intent else 0
        for _ in range(_MOST_CREATES):
            generation += 1
            claim = self.ledger.claim(shard.id, token, generation)
            if claim is not None:
                try:
                    self._require_room(shard, claim)
                    return self._create(outgoing, token, input_file, claim, demand)
                except (OutcomeUnknownError, NamelessJobError) as error:
                    log.warning("%s. Searching for the job before anything else.", error)
                    failure = error
                    found = self._search(shard, token, claim=None)
                    if found is None and isinstance(error, NamelessJobError):
                        raise _not_again(error) from error
            else:
                log.info("Another try is submitting shard %s; waiting for its job.", shard.id)
                found = self._search(shard, token, claim=self._intent(shard))
            if found is not None:
                return found
        raise failure or OutcomeUnknownError(
            f"Shard {shard.id} could not be submitted: {_MOST_CREATES} claims by other tries led to no job. Run the same again."
        )

    def _intent(self, shard: Shard) -> Intent | None:
        """The latest claim; one that cannot be read may be as young as a claim can be.

        A claim made since the snapshot was taken is met by the exclusive create of ours, which has the same number.
        """
        if self.snapshot is not None and not self.snapshot.has(shard.id, "intent"):
            return None
        try:
            return self.ledger.intent(shard.id)
        except CorruptRunError as torn:
            log.warning("%s Treated as a claim that has just been made.", torn)
            return Intent("", self.ledger.generation(shard.id), self.clock(), "unknown")

    def _repair(self, shard: Shard, token: str, torn: CorruptRunError) -> Submitted:
        """A torn record means that there is a job; the service knows its name."""
        found = [job for job in self.client.list_jobs() if is_for(job, token)]
        if not found:
            raise torn
        record = Submitted(token, choose(found)[0].name, input_file_name(token), self.clock(), adopted=True)
        self.ledger.repair_job(shard.id, record)
        log.warning("%s Repaired: the service knows it as %s.", torn, record.job)
        return record

    def _require_room(self, shard: Shard, claim: Intent | None = None) -> None:
        """Raise QuotaError, and withdraw the claim, while too many jobs of the run are in flight.

        With a claim, other tasks' claims count too, and the lower shard goes first: so the limit holds, and one of them proceeds.
        """
        if self.options.max_active_jobs is None:
            return
        snapshot = Snapshot(self.run, self.manifest)
        active = {shard.id for shard in snapshot.without_end()}
        if len(active) >= self.options.max_active_jobs:
            active = self._still_active(snapshot)
        ahead = len(active)
        if claim is not None:
            fresh = self.clock() - self.options.claim_lease - self.options.listing_lag
            claimed = {other.id for other in snapshot.claimed(since=fresh)} - active
            ahead += sum(part < shard.id for part in claimed)
        if ahead >= self.options.max_active_jobs:
            if claim is not None:
                self.ledger.withdraw(shard.id, claim)
            raise QuotaError(
                f"{ahead} jobs of this run are active, max_active_jobs is {self.options.max_active_jobs}; "
                f"shard {shard.id} has to wait.",
                code=None,
            )

    def _demand(self, shard: Shard) -> Demand | None:
        """What the shard's job takes of the connection's limits; None where it sets none."""
        limits = self.client.endpoint.limits
        return None if limits is None else demand_of(self.run, self.manifest, shard, limits)

    def _take_slot(self, shard: Shard, token: str, demand: Demand | None, claim: Intent | None = None) -> HeldSlot | None:
        """Take a slot for the shard's job, or keep the one that it has; None where the connection sets no limits.

        Raises NoRoomError, and withdraws the claim, while no slot is free.
        """
        limits = self.client.endpoint.limits
        if limits is None or demand is None:
            return None
        slots = Slots(limits, self.client, self.options.claim_lease + self.options.listing_lag, self.clock)
        try:
            return slots.take(token, demand, f"Shard {shard.id} of {demand.group}")
        except NoRoomError:
            if claim is not None:
                self.ledger.withdraw(shard.id, claim)
            raise

    def _still_active(self, snapshot: Snapshot) -> set[ShardAttempt]:
        """The shards whose job has not ended and is not gone; ends that are seen are recorded.

        The listing tells them apart by their tokens, without opening the ledger's record of each.
        """
        waiting = {token_of(self.manifest, shard): shard.id for shard in snapshot.without_end()}
        active: set[ShardAttempt] = set()
        for job in self.client.list_jobs():
            token = token_of_display_name(job.display_name)
            part = waiting.pop(token, None) if token is not None else None
            if part is not None:
                self._note(part, job, active)
            if not waiting:
                return active
        names = {name: part for part in waiting.values() if (name := snapshot.job(part)) is not None}
        for name, fetched in fetch_jobs(self.client, names).items():
            self._note(names[name], fetched, active)
        return active

    def _note(self, part: ShardAttempt, fetched: Fetched, active: set[ShardAttempt]) -> None:
        if isinstance(fetched, ServiceError):
            raise fetched
        if fetched is not None and fetched.is_terminal:
            self.ledger.record_end(part, fetched)
        elif fetched is not None:
            active.add(part)

    def _create(self, outgoing: Outgoing, token: str, input_file: str | None, claim: Intent, demand: Demand | None) -> Submitted:
        shard = outgoing.shard
        requests = inline_requests(outgoing.read()) if input_file is None else None
        slot = self._take_slot(shard, token, demand, claim)
        share = self.options.claim_lease / 3
        if self.clock() - claim.claimed_at > share:
            raise OutcomeUnknownError(f"The process was paused for {share:.0f} s while holding the claim on shard {shard.id}")
        try:
            job = self.client.create_job(
                model=self.manifest.model,
                display_name=self._display_name(token, shard),
                input_file=input_file,
                requests=requests,
                embeds=self.manifest.embeds,
                timeout=share,
            )
        except (QuotaError, RefusedError, ApiKeyError, UnreachableError) as error:  # nothing was created
            self.ledger.withdraw(shard.id, claim)
            if slot is not None:
                slot.refused(error)
            raise
        record = self._record(shard, token, job, adopted=False, input_file=input_file)
        if slot is not None:
            slot.accepted()
        return record

    def _record(self, shard: Shard, token: str, job: Job, *, adopted: bool, input_file: str | None = None) -> Submitted:
        record = self.ledger.record(shard.id, token, job, adopted=adopted, input_file=input_file)
        if record.job == job.name:
            log.info("Shard %s: %s %s (%d requests).", shard.id, "adopted" if adopted else "created", job.name, shard.requests)
        else:
            log.warning("Shard %s has %s already; cancelling the second job %s.", shard.id, record.job, job.name)
            self.client.cancel_job(job.name)
        return record

    def _search(self, shard: Shard, token: str, *, claim: Intent | None) -> Submitted | None:
        """Look for a job that some try may have created, until the answer "there is none" can be believed.

        :param claim: the claim of another try; None when the create was our own and is over.
        """
        until = self.clock() + patience(claim, now=self.clock(), options=self.options)
        recorded: list[Submitted] = []

        def known() -> str | None:
            recorded.extend(record for record in [self.ledger.submitted(shard.id)] if record is not None)
            return recorded[0].job if recorded else None

        found = search_job(
            self.client, lambda job: is_for(job, token), until=until, known=known, sleep=self.sleep, clock=self.clock
        )
        if recorded:
            return recorded[0]
        return self._record(shard, token, found, adopted=True) if isinstance(found, Job) else None

    def _upload(self, outgoing: Outgoing, token: str) -> str:
        """The name of the uploaded input file: sent by an earlier try, or now.

        Whatever an upload is answered with, the service is asked what it has: the last part may have been stored, and only its
        repetition refused.
        """
        shard, name = outgoing.shard, input_file_name(token)
        size, sha256 = outgoing.identity()
        if self._is_there(name, size, sha256):
            log.info("Shard %s is uploaded already as %s.", shard.id, name)
            return name
        log.info("Uploading shard %s: %d requests, %.1f MB.", shard.id, shard.requests - len(outgoing.refused), size / 1e6)
        chosen: str | None = name
        for last in (False, True):
            try:
                with outgoing.open() as file:
                    sent = self.client.upload(file, name=chosen, display_name=self._display_name(token, shard))
                if sent.size in (None, size) and sent.sha256 in (None, sha256):
                    return sent.name
                self.client.delete_file(sent.name)
                damage = f"The service received {sent.size} bytes with sha256 {sent.sha256} where {size} with {sha256} were sent."
                if last:
                    raise OutcomeUnknownError(f"Could not upload shard {shard.id}. {damage} Something in between changes files.")
                log.warning("%s Uploading it once more.", damage)
            except RefusedError as error:
                if self._is_there(name, size, sha256):
                    return name
                if last:
                    raise
                if error.code == 409:
                    log.warning("The name %s is taken by a file that cannot be used; the service chooses another name.", name)
                    chosen = None
                else:
                    log.warning("%s Trying once more from the beginning.", error)
        raise AssertionError("unreachable")

    def _display_name(self, token: str, shard: Shard) -> str:
        return display_name(token, shard, owner=self.manifest.owner, destination=self.run.destination.uri)

    def _is_there(self, name: str, size: int, sha256: str) -> bool:
        file = self.client.get_file(name)
        return file is not None and file.is_usable and file.size == size and file.sha256 in (None, sha256)


def _not_again(error: NamelessJobError) -> NamelessJobError:
    return NamelessJobError(
        f"{error} The listing does not show it, and no second one was created, since each may be billed. Check that the "
        "connection's host is the Gemini API, and whether the job is listed there. If it certainly does not exist, run the same "
        "again: it searches once more, then creates.",
        code=error.code,
    )
