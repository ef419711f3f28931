"""What has been submitted, for each shard and attempt: small files, each whole or absent.

    <id>.intent-<n>.json   a try is about to create a job; claimed exclusively, so two tries never both create
    <id>.job.json          the job that serves this shard and attempt
    <id>.cancel.json       this package is about to cancel that job, and why
    <id>.end.json          how that job ended
    <id>.landed.json       both parts of the tables are written; their counts
    <id>.redrive.json      which of its rows are resubmitted, as which shards
    <id>.discard-<n>.json  which of its dead letters are not to be sent again (see ``discards``)
    <id>.seen.json         how far the job had come when it was last checked: a hint
    progress.json          how far all jobs were, for people (see ``job_progress``): a hint
    known.json             what earlier passes have read of all these, and the end of the run: a hint (see ``snapshot``)

Facts are created once and never rewritten, so no crash can take back what was known. Three are not facts but can be found out
again at no cost: ``end`` is written a second time when the job names its output later, ``landed`` when a part is written anew,
and the hints with each change. An intent without a job means: a job may exist. "Cannot be read" raises CorruptRunError and is
never "is not there".
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from airflow_gemini_batch.engine.costs.shard_cost import ShardCost
from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.gemini.names import is_job_name
from airflow_gemini_batch.engine.options import MediaTo
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, read_json, root_of, span_of
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Intent(msgspec.Struct, frozen=True):
    """A try is about to create a job.

    :param generation: counts the claims for one shard and attempt from 1; only the highest counts.
    :param claimed_at: seconds since the epoch, by the claimant's clock.
    :param claimant: host, process and a random part, so that no two tries have the same, not even on one machine.
    """

    token: str
    generation: int
    claimed_at: float
    claimant: str


class Submitted(msgspec.Struct, frozen=True):
    """The job that serves a shard and attempt. ``adopted``: an earlier try had created it."""

    token: str
    job: str
    input_file: str | None
    recorded_at: float
    adopted: bool


class Cancellation(msgspec.Struct, frozen=True):
    """This package cancelled the job, so its unanswered rows may be resubmitted. ``why``: killed, timeout, stuck or replaced."""

    why: str
    at: float


class Ended(msgspec.Struct, frozen=True):
    """How a job ended. ``seen_at``: seconds since the epoch, when its end was first seen."""

    job: Job
    seen_at: float


class Landed(msgspec.Struct, frozen=True):
    """The counts of a shard whose parts of both tables are written.

    :param rows: ``results`` + ``dead_letter``.
    :param reasons: dead letters by reason.
    :param aside: output lines that belong to no row, by why (see ``response.joining``).
    :param tokens: sums over the results, as the service counted them.
    :param keep_response, media_to: how it was landed, in case it has to be landed again.
    :param cost: None in a run of an earlier version.
    """

    number: int
    attempt: int
    job: str | None
    rows: int
    results: int
    dead_letter: int
    reasons: dict[str, int]
    aside: dict[str, int]
    tokens: dict[str, int]
    keep_response: bool = True
    media_to: MediaTo = "column"
    cost: ShardCost | None = None


class Redrive(msgspec.Struct, frozen=True):
    """What is resubmitted of a shard and attempt: nothing, or one or more shards of the next attempt."""

    shards: tuple[Shard, ...]


class Seen(msgspec.Struct, frozen=True):
    """How far a job had come. ``since``: seconds since the epoch, when it was first seen that far."""

    state: str
    done: int
    since: float


@dataclasses.dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one run. Each method opens the files of one shard; ``snapshot.Snapshot`` serves whoever asks for many.

    :param clock: what the time is, in seconds since the epoch. Default: ``time.time``.
    """

    run: Run
    clock: Callable[[], float] = dataclasses.field(default=time.time, repr=False, compare=False)

    def intent(self, part: ShardAttempt) -> Intent | None:
        """The latest claim, or None when no try has been about to create."""
        generation = self.generation(part)
        return read_json(self._intent_file(part, generation), Intent) if generation else None

    def generation(self, part: ShardAttempt) -> int:
        """The number of the latest claim, by the names of the files alone; 0 when there is none."""
        prefix, suffix = f"{part}.intent-", ".json"
        names = [file.name for file in self.run.ledger_folder.children()]
        numbers = [name[len(prefix) : -len(suffix)] for name in names if name.startswith(prefix) and name.endswith(suffix)]
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def has_submissions(self) -> bool:
        """Whether any job was created, or may have been: a withdrawn claim leaves nothing."""
        return any(".intent-" in file.name or file.name.endswith(".job.json") for file in self.run.ledger_folder.children())

    def claim(self, part: ShardAttempt, token: str, generation: int) -> Intent | None:
        """Become the one who creates. None when another try was faster. Exclusive where the storage can be (see ``storage``)."""
        claimant = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        intent = Intent(token, generation, self.clock(), claimant)
        return intent if self._intent_file(part, generation).create(msgspec.json.encode(intent)) else None

    def withdraw(self, part: ShardAttempt, intent: Intent) -> None:
        """Take a claim back after a definite refusal: no job came of it, and no try needs to look for one."""
        self._intent_file(part, intent.generation).delete()

    def submitted(self, part: ShardAttempt) -> Submitted | None:
        """The job of a shard and attempt, or None while there is none. Raises CorruptRunError for a torn record."""
        record = read_json(self._file(part, "job"), Submitted)
        if record is not None and not is_job_name(record.job):
            raise CorruptRunError(f"{self._file(part, 'job')} names {record.job!r}; expected batches/<id>. Inspect the file.")
        return record

    def record(self, part: ShardAttempt, token: str, job: Job, *, adopted: bool, input_file: str | None = None) -> Submitted:
        """Write down the job. When another try has recorded one in the meantime, that one is returned: it counts.

        :param input_file: what it was created with, in case the service does not say.
        """
        record = Submitted(token, job.name, job.input_file or input_file, self.clock(), adopted)
        if self._file(part, "job").create(msgspec.json.encode(record)):
            return record
        return self.submitted(part) or record

    def repair_job(self, part: ShardAttempt, record: Submitted) -> None:
        """Replace a torn record with the job that was found at the service."""
        self._file(part, "job").write(msgspec.json.encode(record))

    def refused(self, part: ShardAttempt) -> dict[str, str]:
        """The rows that the service refused to take, by key, with its words. They are not sent again."""
        return read_json(self._file(part, "refused"), dict[str, str]) or {}

    def record_refused(self, part: ShardAttempt, rows: Mapping[str, str]) -> dict[str, str]:
        """Add rows that the service has refused. Returns all of them."""
        refused = {**rows, **self.refused(part)}
        self._file(part, "refused").write(msgspec.json.encode(refused))
        return refused

    def ended(self, part: ShardAttempt) -> Job | None:
        """How the job ended, or None while its end has not been seen (or the record is torn: the service can say it again)."""
        record = self._found_again(part, "end", Ended)
        return record.job if record is not None else None

    def ended_at(self, part: ShardAttempt) -> float | None:
        """When its end was first seen, in seconds since the epoch."""
        record = self._found_again(part, "end", Ended)
        return record.seen_at if record is not None else None

    def record_end(self, part: ShardAttempt, job: Job) -> float:
        """Write down the end, and again when the output has been named since. Returns when the end was first seen."""
        now = self.clock()
        if self._file(part, "end").create(msgspec.json.encode(Ended(job, now))):
            return now
        known = self._found_again(part, "end", Ended)
        if known is not None and (known.job.has_output or not job.has_output):
            return known.seen_at
        seen_at = now if known is None else known.seen_at
        self._file(part, "end").write(msgspec.json.encode(Ended(job, seen_at)))
        return seen_at

    def cancellation(self, part: ShardAttempt) -> Cancellation | None:
        """Why this package cancelled the job, or None where it did not."""
        return read_json(self._file(part, "cancel"), Cancellation)

    def record_cancellation(self, part: ShardAttempt, why: str) -> None:
        """Write down that the job is about to be cancelled; the first reason stays."""
        self._file(part, "cancel").create(msgspec.json.encode(Cancellation(why, self.clock())))

    def landed(self, part: ShardAttempt) -> Landed | None:
        """The counts of a shard whose parts are written, or None. Torn counts count as none: landing again costs nothing."""
        try:
            return read_json(self.run.landed_file(part), Landed)
        except CorruptRunError as torn:
            log.warning("%s The shard is landed again.", torn)
            return None

    def redrive(self, part: ShardAttempt) -> Redrive | None:
        """What is resubmitted, or None while that has not been decided."""
        return read_json(self._file(part, "redrive"), Redrive)

    def record_redrive(self, part: ShardAttempt, shards: tuple[Shard, ...], *, repair: bool = False) -> Redrive:
        """Write down what is resubmitted, once its files are there. What was recorded before counts.

        :param repair: overwrite a record that is torn.
        """
        redrive = Redrive(shards)
        file, content = self._file(part, "redrive"), msgspec.json.encode(redrive)
        if repair:
            file.write(content)
            return redrive
        if file.create(content):
            return redrive
        return self.redrive(part) or redrive

    def shard(self, manifest: Manifest, part: ShardAttempt) -> Shard | None:
        """One shard of the run, found without reading the others' files; None when the run has no such shard."""
        root = root_of(part.shard, span_of(manifest.shards))
        family = [shard for shard in manifest.shards if shard.number == root]
        for shard in family:  # which grows
            if shard.id == part:
                return shard
            redrive = self.redrive(shard.id) if shard.attempt < part.attempt else None
            family += redrive.shards if redrive is not None else ()
        return None

    def seen(self, part: ShardAttempt) -> Seen | None:
        """How far the job had come when it was last checked."""
        return self._found_again(part, "seen", Seen)

    def record_seen(self, part: ShardAttempt, seen: Seen) -> None:
        self._file(part, "seen").write(msgspec.json.encode(seen))

    def _intent_file(self, part: ShardAttempt, generation: int) -> Location:
        return self.run.ledger_folder / f"{part}.intent-{generation}.json"

    def _found_again(self, part: ShardAttempt, fact: str, kind: type[_T]) -> _T | None:
        """A record that can be found out again at no cost, so a torn one counts as none."""
        try:
            return read_json(self._file(part, fact), kind)
        except CorruptRunError as torn:
            log.warning("%s It is found out again.", torn)
            return None

    def _file(self, part: ShardAttempt, fact: str) -> Location:
        return self.run.ledger_folder / f"{part}.{fact}.json"
