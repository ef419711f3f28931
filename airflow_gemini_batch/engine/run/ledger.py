"""What has been submitted, per shard and attempt: small files, each written once, each whole or absent.

    <id>.intent-<n>.json   someone is about to create a job; claimed exclusively, so two tries never both create
    <id>.job.json          the job that serves this shard and attempt
    <id>.cancel.json       we are about to cancel that job, and why
    <id>.end.json          how that job ended
    <id>.redrive.json      which of its rows are sent again, as which shards
    <id>.seen.json         how far the job had come when it was last looked at: a hint, the only one that is rewritten

A fact is never rewritten, so no crash can take back what was known. An intent without a job means: a job may exist.
"Cannot be read" raises CorruptRunError and is never "is not there".
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import re
import socket
import time
import uuid
from typing import TypeVar

import msgspec

from airflow_gemini_batch.engine.errors import CorruptRunError
from airflow_gemini_batch.engine.gemini.jobs import Job, is_job_name
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, ShardAttempt, read_json
from airflow_gemini_batch.engine.run.storage import Location

log = logging.getLogger(__name__)

_T = TypeVar("_T")

#: In front of the token in a job's display name and in an input file's name: tells ours from everyone else's.
TOKEN_PREFIX = "gb-"
_DISPLAY_NAME = re.compile(rf"{TOKEN_PREFIX}([0-9a-f]{{32}})(?![0-9a-z])")


class Intent(msgspec.Struct, frozen=True):
    """Someone is about to create a job.

    :param generation: counts the claims for one shard and attempt from 1; only the highest counts.
    :param claimed_at: seconds since the epoch, by the claimant's clock.
    :param claimant: host, process and a random part: tells one try from another, also on one machine.
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
    """We asked for the end of a job, so what it leaves undone may be sent again. ``why``: killed, timeout, stuck or replaced."""

    why: str
    at: float


class Ended(msgspec.Struct, frozen=True):
    """How a job ended. ``seen_at``: seconds since the epoch, when the first of us saw it."""

    job: Job
    seen_at: float


class Redrive(msgspec.Struct, frozen=True):
    """What is sent again of a shard and attempt: nothing, or one or more shards of the next attempt."""

    shards: tuple[Shard, ...]


class Seen(msgspec.Struct, frozen=True):
    """How far a job had come. ``since``: seconds since the epoch, when it was first seen that far."""

    state: str
    done: int
    since: float


@dataclasses.dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one run."""

    run: Run

    def intent(self, part: ShardAttempt) -> Intent | None:
        """The latest claim, or None when nobody has been about to create."""
        latest: Intent | None = None
        prefix = f"{part}.intent-"
        for file in self.run.ledger_folder.children():
            if file.name.startswith(prefix):
                intent = read_json(file, Intent)
                if intent is not None and (latest is None or intent.generation > latest.generation):
                    latest = intent
        return latest

    def generation(self, part: ShardAttempt) -> int:
        """The number of the latest claim, by the names of the files alone; 0 when there is none."""
        prefix, suffix = f"{part}.intent-", ".json"
        names = [file.name for file in self.run.ledger_folder.children()]
        numbers = [name[len(prefix) : -len(suffix)] for name in names if name.startswith(prefix) and name.endswith(suffix)]
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def flying(self, manifest: Manifest) -> dict[ShardAttempt, str]:
        """The shards with a job that nobody has seen end yet, with the job's name."""
        facts = self._facts(manifest)
        open_parts = [part for part, known in facts.items() if "job" in known and "end" not in known]
        return {part: record.job for part in open_parts if (record := self.submitted(part)) is not None}

    def claimed(self, manifest: Manifest, *, since: float) -> list[ShardAttempt]:
        """The shards that somebody has been about to create a job for since then, and that have none yet."""
        pending = [part for part, known in self._facts(manifest).items() if "intent" in known and "job" not in known]
        return [part for part in pending if (intent := self.intent(part)) is not None and intent.claimed_at >= since]

    def _facts(self, manifest: Manifest) -> dict[ShardAttempt, set[str]]:
        """What is written down about each shard, by one look into the folder."""
        names = [file.name for file in self.run.ledger_folder.children()]
        facts: dict[str, set[str]] = {}
        for name in names:
            part, _, rest = name.partition(".")
            facts.setdefault(part, set()).add(rest.partition("-")[0].partition(".")[0])
        return {shard.id: facts.get(str(shard.id), set()) for shard in self.shards(manifest)}

    def claim(self, part: ShardAttempt, token: str, generation: int) -> Intent | None:
        """Become the one who creates. None when someone else was faster. Exclusive where the storage can be (see ``storage``)."""
        claimant = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        intent = Intent(token, generation, time.time(), claimant)
        return intent if self._intent_file(part, generation).create(msgspec.json.encode(intent)) else None

    def withdraw(self, part: ShardAttempt, intent: Intent) -> None:
        """Take a claim back after a definite refusal: no job came of it, and nobody needs to look for one."""
        self._intent_file(part, intent.generation).delete()

    def submitted(self, part: ShardAttempt) -> Submitted | None:
        record = read_json(self._file(part, "job"), Submitted)
        if record is not None and not is_job_name(record.job):
            raise CorruptRunError(f"{self._file(part, 'job')} names {record.job!r}, which is no batch job. Look at it.")
        return record

    def record(self, part: ShardAttempt, token: str, job: Job, *, adopted: bool, input_file: str | None = None) -> Submitted:
        """Write down the job. When another try has recorded one in the meantime, that one is returned: it counts.

        :param input_file: what it was created with, in case the service does not say.
        """
        record = Submitted(token, job.name, job.input_file or input_file, time.time(), adopted)
        if self._file(part, "job").create(msgspec.json.encode(record)):
            return record
        return self.submitted(part) or record

    def ended(self, part: ShardAttempt) -> Job | None:
        """How the job ended, or None while nobody has seen it end (or the record is torn: the service can tell again)."""
        record = self._hint(part, "end", Ended)
        return record.job if record is not None else None

    def ended_at(self, part: ShardAttempt) -> float | None:
        """When the first of us saw it end, in seconds since the epoch."""
        record = self._hint(part, "end", Ended)
        return record.seen_at if record is not None else None

    def record_end(self, part: ShardAttempt, job: Job) -> None:
        """Write down the end; once more when the output has been named since, with the time of the first."""
        known = self._hint(part, "end", Ended)
        if known is None or (job.has_output and not known.job.has_output):
            seen_at = time.time() if known is None else known.seen_at
            self._file(part, "end").write(msgspec.json.encode(Ended(job, seen_at)))

    def cancellation(self, part: ShardAttempt) -> Cancellation | None:
        return read_json(self._file(part, "cancel"), Cancellation)

    def record_cancellation(self, part: ShardAttempt, why: str) -> None:
        self._file(part, "cancel").create(msgspec.json.encode(Cancellation(why, time.time())))

    def redrive(self, part: ShardAttempt) -> Redrive | None:
        """What is sent again, or None while that has not been decided."""
        return read_json(self._file(part, "redrive"), Redrive)

    def record_redrive(self, part: ShardAttempt, shards: tuple[Shard, ...], *, repair: bool = False) -> Redrive:
        """Write down what is sent again, once its files are there. What was recorded before counts.

        :param repair: overwrite a record that is torn.
        """
        redrive = Redrive(shards)
        file, content = self._file(part, "redrive"), msgspec.json.encode(redrive)
        if repair:
            file.write(content)
            return redrive
        file.create(content)
        return self.redrive(part) or redrive

    def shards(self, manifest: Manifest) -> list[Shard]:
        """Every shard of the run: those of the manifest, and those that are sent again."""
        found: list[Shard] = []
        queue = list(manifest.shards)
        while queue:
            shard = queue.pop(0)
            found.append(shard)
            redrive = self.redrive(shard.id)
            queue.extend(redrive.shards if redrive is not None else ())
        return found

    def seen(self, part: ShardAttempt) -> Seen | None:
        return self._hint(part, "seen", Seen)

    def record_seen(self, part: ShardAttempt, seen: Seen) -> None:
        self._file(part, "seen").write(msgspec.json.encode(seen))

    def repair_job(self, part: ShardAttempt, record: Submitted) -> None:
        """Put the job that was found at the service in the place of a torn record."""
        self._file(part, "job").write(msgspec.json.encode(record))

    def _intent_file(self, part: ShardAttempt, generation: int) -> Location:
        return self.run.ledger_folder / f"{part}.intent-{generation}.json"

    def _hint(self, part: ShardAttempt, fact: str, kind: type[_T]) -> _T | None:
        """A fact that can be found out again at no cost, so that a torn record of it is as good as none."""
        try:
            return read_json(self._file(part, fact), kind)
        except CorruptRunError as torn:
            log.warning("%s It is found out again.", torn)
            return None

    def _file(self, part: ShardAttempt, fact: str) -> Location:
        return self.run.ledger_folder / f"{part}.{fact}.json"


def token_of(manifest: Manifest, shard: Shard) -> str:
    """The identity of the one job that a shard and attempt may have: 32 hex digits, the same for every try of every task."""
    parts = [manifest.run_id, manifest.model, shard.sha256, shard.number, shard.attempt]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def display_name(token: str, shard: Shard) -> str:
    """What the job is called at the service: the token for us, the rest for people."""
    return f"{TOKEN_PREFIX}{token} shard {shard.number} attempt {shard.attempt}"


def input_file_name(token: str) -> str:
    """At most 40 of a-z, 0-9 and ``-`` after ``files/`` (Files API)."""
    return f"files/{TOKEN_PREFIX}{token}"


def is_for(job: Job, token: str) -> bool:
    """Whether a job serves the token, by its display name, or by the name of its input file should the former be lost."""
    return token == token_of_display_name(job.display_name) or job.input_file == input_file_name(token)


def token_of_display_name(name: str) -> str | None:
    """The token, or None for a job that is not ours: anybody may have chosen that name."""
    match = _DISPLAY_NAME.match(name.strip())
    return match[1] if match else None
